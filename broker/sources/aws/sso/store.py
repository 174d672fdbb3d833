"""Where a sign-in at IAM Identity Center is kept: in the AWS CLI's cache of such, or in the encrypted store."""

from __future__ import annotations

import json
from collections.abc import Hashable
from hashlib import sha1
from pathlib import Path
from typing import Any, Final

from broker.errors import TransientFetchError
from broker.secret import Secret
from broker.sources.aws.sso.settings import SsoSettings
from broker.sources.aws.sso.token import SsoToken
from broker.sources.inputs import version
from broker.sources.interface import LoginRecord

_FOLDER: Final = "~/.aws/sso/cache"


class SharedCache:
    """The AWS CLI's files, which botocore reads and writes; `session`: the AWS CLI's name for the sign-in, if it has one.

    Blocks: for a thread of `Blocking`.
    """

    def __init__(self, settings: SsoSettings) -> None:
        self._settings = settings
        self._folder = Path(_FOLDER).expanduser()
        self._used = self._folder

    def load(self, session: str | None) -> SsoToken | None:
        """Read it; None where there is none, or nothing of use."""
        key = self._key(session)
        try:
            written = self._files()[key]
        except (KeyError, RecursionError):  # of botocore's own for what cannot be read, and for what is deep
            return None
        return SsoToken.of(written, self._settings.start_url, self._settings.region)

    def save(self, token: SsoToken, session: str | None) -> bool:
        """Write it, in place of an earlier one at once or not at all; False where that cannot be."""
        key = self._key(session)
        try:
            self._files()[key] = token.document(self._settings.start_url, self._settings.region)
        except OSError:
            return False
        return True

    def delete(self, session: str | None) -> None:
        """Remove it. Raises `TransientFetchError` where it cannot be."""
        key = self._key(session)
        try:
            self._used.unlink(missing_ok=True)
        except OSError as error:
            raise TransientFetchError(f"{self._folder}/{key}.json cannot be removed ({error.strerror})") from None

    def version(self) -> Hashable:
        """Give what changes when it does; quick, no library is loaded."""
        try:
            return version(self._used.stat())
        except OSError:
            return None

    def _key(self, session: str | None) -> str:
        """Name the file as botocore's `SSOTokenLoader` does."""
        key = sha1((session or self._settings.start_url).encode(), usedforsecurity=False).hexdigest()
        self._used = self._folder / f"{key}.json"
        return key

    def _files(self) -> Any:  # noqa: ANN401  # botocore has no types
        from botocore.utils import JSONFileCache  # noqa: PLC0415  # late: only who uses AWS pays for it

        return JSONFileCache(str(self._folder), dumps_func=json.dumps)


class Records:
    """The encrypted store: a record for each source that shares the sign-in, so that any of them may leave."""

    def __init__(self, settings: SsoSettings) -> None:
        self._settings = settings
        self.of: list[LoginRecord] = []

    def load(self) -> SsoToken | None:
        """Return the newest. Raises `TransientFetchError` while locked."""
        found = [token for record in self.of if (token := self._read(record.get())) is not None]
        return max(found, key=lambda token: token.expires_at, default=None)

    async def save(self, token: SsoToken) -> bool:
        """Store it; False where that cannot be."""
        document = Secret(json.dumps(token.document(self._settings.start_url, self._settings.region)))
        return all([await record.put(document) for record in self.of])

    async def delete(self) -> None:
        """Remove it. Raises `TransientFetchError` where it cannot be."""
        for record in self.of:
            await record.delete()

    def _read(self, record: Secret | None) -> SsoToken | None:
        if record is None:
            return None
        return SsoToken.read(record.reveal(), self._settings.start_url, self._settings.region)
