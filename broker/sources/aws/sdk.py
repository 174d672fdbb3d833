"""botocore, set up for one source. Everything here blocks: for a thread of `Blocking`.

A botocore session is made for every use: it is cheap beside a call, sees changed files, and nothing of it is shared
between threads. The parsed service models are shared.
"""

from __future__ import annotations

import functools
import logging
import os
from typing import Any, Final

from broker.errors import PermanentFetchError
from broker.sources.aws.session import Session
from broker.sources.aws.settings import AwsSourceSettings, is_open
from broker.sources.aws.skew import Skew

Library = Any
"""A botocore session or client; botocore has no types."""

CALL_S: Final = 30.0
"""How long one call takes at most: two attempts."""
_CONNECT_S: Final = 4.0
_READ_S: Final = 10.0
_ATTEMPTS: Final = 2
_STS_REGIONS: Final = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
"""Where to ask STS when no region is known, by partition: what it gives is good in all of it."""


class Sdk:
    """Makes botocore's sessions and clients; `skew` learns from every answer."""

    def __init__(self, settings: AwsSourceSettings, skew: Skew) -> None:
        self.settings = settings
        self.skew = skew

    def session(self) -> Library:
        """Make a session of the source's profile."""
        from botocore.session import Session as LibrarySession  # noqa: PLC0415  # late: only who uses AWS pays for it

        made = LibrarySession(profile=self.settings.profile)
        made.register_component("data_loader", _models())
        if self.settings.region is not None:
            made.set_config_variable("region", self.settings.region)
        made.set_default_client_config(self._config())
        made.register("after-call", self._answered)
        return made

    def client(self, service: str, keys: Session | None, region: str | None = None) -> Library:
        """Make a client that signs with `keys`, or not at all.

        Raises `PermanentFetchError` where it would talk in the open, and what botocore raises.
        """
        return self.client_of(self.session(), service, keys, region)

    def client_of(self, session: Library, service: str, keys: Session | None, region: str | None = None) -> Library:
        """Make a client of this session."""
        return self.create(
            session, service, region, **({"config": self._unsigned()} if keys is None else _signing(keys))
        )

    def create(self, session: Library, service: str, region: str | None, **arguments: Any) -> Library:  # noqa: ANN401  # botocore's own
        """Make a client as `create_client` of botocore's does."""
        region = region or _region_of(session) or (self._sts_region if service == "sts" else None)
        made = session.create_client(service, region_name=region, endpoint_url=self.settings.endpoint_url, **arguments)
        if is_open(made.meta.endpoint_url):  # the environment or the profile may name it
            raise PermanentFetchError(
                f"the endpoint of {service} is http, which others on the network can read; use https"
            )
        from broker.sources.aws.bounded import BoundedSession  # noqa: PLC0415  # late: it loads botocore

        # Nothing public of botocore's comes before it reads an answer.
        made._endpoint.http_session = BoundedSession(made._endpoint.http_session)  # noqa: SLF001  # as above
        return made

    def region(self, wanted: str | None = None) -> str:
        """Find the region: the credential's, the source's, the profile's. Raises `PermanentFetchError`."""
        found = wanted or self.known_region()
        if not found:
            raise PermanentFetchError("no region is known; set `region` of the source, or of the profile")
        return found

    def known_region(self) -> str | None:
        """Find the region, if there is one."""
        return _region_of(self.session())

    @property
    def _sts_region(self) -> str:
        roles = self.settings.roles
        return _STS_REGIONS.get(roles[0].partition if roles else "aws", _STS_REGIONS["aws"])

    def _config(self, **more: Any) -> Library:  # noqa: ANN401  # botocore's own
        from botocore.config import Config  # noqa: PLC0415  # see `session`

        # A proxy of the environment sees no plain http, which goes to this machine alone.
        open_ = (self.settings.endpoint_url or "").startswith("http:")
        return Config(
            connect_timeout=_CONNECT_S,
            read_timeout=_READ_S,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            proxies={} if open_ else None,
            user_agent_extra="claude-credential-broker",
            **more,
        )

    def _unsigned(self) -> Library:
        from botocore import UNSIGNED  # noqa: PLC0415  # see `session`

        return self._config(signature_version=UNSIGNED)

    def _answered(self, http_response: Library = None, **_event: object) -> None:
        if http_response is not None:
            self.skew.note(http_response.headers.get("date"))


def _region_of(session: Library) -> str | None:
    """Find it where botocore does, and where every other SDK does too."""
    found = session.get_config_variable("region") or os.environ.get("AWS_REGION")
    return None if not found else str(found)


def _signing(keys: Session) -> dict[str, str | None]:
    return {
        "aws_access_key_id": keys.access_key_id,
        "aws_secret_access_key": keys.secret_access_key.reveal(),
        "aws_session_token": keys.session_token.reveal() if keys.session_token is not None else None,
    }


@functools.cache
def _models() -> Library:
    # At the level `debug` it writes keys and whole answers to the log, and failures' tracebacks at any.
    for name in ("botocore", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    from botocore.loaders import create_loader  # noqa: PLC0415  # see `Sdk.session`

    return create_loader()
