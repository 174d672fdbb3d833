"""The code of a second factor: read when it is needed, and used once."""

from __future__ import annotations

import re
import time
from typing import Final

from broker.errors import LoginRequired, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sources import references
from broker.sources.interface import Context
from broker.sources.references import Reference

_CODE: Final = re.compile(r"[0-9]{6}", re.ASCII)
_STEP_S: Final = 30
"""How long a code lasts (RFC 6238, 5.2: the default, which AWS's devices have)."""


class MfaCode:
    """What `mfa_code` of a source names."""

    def __init__(self, reference: Reference, context: Context) -> None:
        self._reference = reference
        self._place = references.bind(reference, context)
        self._used: Secret | None = None

    async def take(self) -> Secret:
        """Read the present code. AWS takes each once, so the same again is not sent.

        Raises `TransientFetchError`: the next one comes soon; `LoginRequired` where a person has to put it there.
        """
        code = Secret((await self._place.resolve()).reveal().strip())
        if not _CODE.fullmatch(code.reveal()):
            raise PermanentFetchError("what `mfa_code` of the source names is not the six digits of an MFA code")
        if code == self._used:
            raise self._spent()
        self._used = code
        return code

    def changed(self) -> bool:
        """Whether there is another one, as far as that can be seen. Called off the event loop."""
        return self._place.changed()

    def _spent(self) -> LoginRequired | TransientFetchError:
        if self._reference.local is not None:
            return LoginRequired(f"the MFA code was used; run: broker secret set {self._reference.local}")
        return TransientFetchError(
            "the MFA code was used already; the next comes within 30 s", retry_after_s=_STEP_S - time.time() % _STEP_S
        )
