"""`sso = { ... }`: a person's sign-in at IAM Identity Center, as which account and role."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SsoSettings:
    """`start_url` and `region` of the Identity Center; `account_id` and `role_name` of what is assigned there."""

    start_url: str
    region: str
    account_id: str
    role_name: str

    def __post_init__(self) -> None:
        if not _ACCOUNT.fullmatch(self.account_id):
            raise ValueError("account_id must be the 12 digits of an account")
