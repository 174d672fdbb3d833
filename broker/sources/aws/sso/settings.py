"""`sso = { ... }`: a person's sign-in at IAM Identity Center, as which account and role."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from broker.sources.interface import Problems
from broker.sources.web.server import checked_url

_EXAMPLE: Final = "https://my-company.awsapps.com/start"
_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
_REGION: Final = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}", re.ASCII)
_ROLE: Final = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_SESSION: Final = re.compile(r"[^\x00-\x1f\x7f\[\]]{1,200}")


@dataclass(frozen=True, slots=True)
class SsoSettings:
    """`start_url` and `region` of the Identity Center; `account_id` and `role_name` of what is assigned there.

    Sources with the same `start_url` share one sign-in. Mostly the AWS CLI shares it too, through a plain file of its
    own, `~/.aws/sso/cache/SHA1.json` (mode 0600), which holds a refresh token that is good for as long as the Identity
    Center lets a sign-in last: who has used `aws sso login` has that file anyway. `shared_cache = false` keeps the
    sign-in in the broker's encrypted store alone, out of reach of other programs and of a stolen backup.

    `session`: the `[sso-session NAME]` of ~/.aws/config whose sign-in it is; found by its start URL if not given.
    """

    start_url: str
    region: str
    account_id: str
    role_name: str
    session: str | None = None
    shared_cache: bool = True

    def __post_init__(self) -> None:
        if broken := list(self._broken()):
            raise Problems(*broken)
        if self.session is not None and not _SESSION.fullmatch(self.session):
            raise ValueError("session must be the name of an [sso-session NAME] of ~/.aws/config")
        if self.session is not None and not self.shared_cache:
            raise ValueError("session belongs to a sign-in that is shared with the AWS CLI; remove it, or shared_cache")

    def _broken(self) -> Iterator[str]:
        """Find what is wrong with what everybody must give, all of it at once."""
        try:
            # Sent and written down by its text, as the AWS CLI has it: people copy it from the browser, `#/` and all.
            checked_url("start_url", self.start_url.partition("#")[0], _EXAMPLE, allow_http=None)
        except ValueError as error:
            yield str(error)
        rules = (
            (_REGION, self.region, "region must be such as us-east-1: where the Identity Center is"),
            (_ACCOUNT, self.account_id, "account_id must be the 12 digits of an account"),
            (_ROLE, self.role_name, "role_name must be the name of a permission set, such as PowerUserAccess"),
        )
        yield from (expected for pattern, text, expected in rules if not pattern.fullmatch(text))

    @property
    def place(self) -> tuple[str, str]:
        """What tells one Identity Center from others."""
        return place(self.start_url, self.region)


def place(start_url: str, region: str) -> tuple[str, str]:
    """Give start URL and region in a form to be compared."""
    return start_url.partition("#")[0].rstrip("/"), region
