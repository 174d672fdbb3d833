"""What goes wrong between us and the server, in our words: one line with what mends it.

Loads hvac: import it from a thread, at the first call.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import requests
from hvac import exceptions as hvac_errors

from broker.errors import FetchError, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sources.complaint import last_line
from broker.sources.vault.refusals import BadInput, Denied, NotFound
from broker.sources.vault.settings import VaultSourceSettings
from broker.sources.web.transport import Busy
from broker.sources.web.unreached import unreached

_ITEM: Final = re.compile(r"^\s*\d+ errors? occurred:\s*\*?\s*")

_UNLIKE_A_WORD: Final = re.compile(r"[^\s\"']*[^\s\"'A-Za-z,.:;()/_*-][^\s\"']*|[^\s\"']{40,}")
"""What may be part of a secret in the server's words: an engine's error may quote what it was configured with."""


def translated(error: Exception, settings: VaultSourceSettings, what: str, sent: Sequence[Secret] = ()) -> FetchError:
    """Say in our words why `what` failed, without what was `sent`."""
    if isinstance(error, FetchError):
        return error
    if isinstance(error, hvac_errors.VaultError):
        return _refused(error, settings, what, sent)
    if isinstance(error, Busy):
        return TransientFetchError(
            f"{settings.server}: {what}: asked too often, or not ready (status {error.status})",
            retry_after_s=error.retry_after_s,
        )
    if isinstance(error, requests.RequestException):
        return TransientFetchError(f"{settings.server}: {unreached(error, settings.reached)}")
    return _strange(settings, what)


def _strange(settings: VaultSourceSettings, what: str) -> FetchError:
    return TransientFetchError(
        f"{settings.server}: {what}: the answer is no Vault's; check `address` (http or https? a proxy before it?)"
    )


def _refused(
    error: hvac_errors.VaultError, settings: VaultSourceSettings, what: str, sent: Sequence[Secret]
) -> FetchError:
    said = _said(error, sent)
    line = f"{settings.server}: {what}: "
    failure: FetchError
    match error:
        case hvac_errors.Forbidden() | hvac_errors.InvalidPath() | hvac_errors.InvalidRequest() if not isinstance(
            error.json, dict
        ):  # a proxy's or another program's page
            failure = _strange(settings, what)
        case hvac_errors.Forbidden():
            failure = Denied(f"{line}{said or 'permission denied'}")
        case hvac_errors.InvalidPath() if "namespace not found" in said:
            failure = PermanentFetchError(
                f"{settings.server}: there is no namespace {settings.namespace}; mend `namespace` of the source"
            )
        case hvac_errors.InvalidPath():
            failure = NotFound(f"{line}{said or 'nothing there'}", error.json)
        case hvac_errors.InvalidRequest():
            failure = BadInput(f"{line}{said or 'refused as malformed'}")
        case hvac_errors.RateLimitExceeded():
            failure = TransientFetchError(f"{line}asked too often (status 429)")
        case hvac_errors.VaultDown():
            mend = "; somebody with its keys has to unseal it" if "sealed" in said else ""
            failure = TransientFetchError(f"{settings.server}: {said or 'not ready'} (status 503){mend}")
        case _:
            failure = TransientFetchError(f"{line}{said or 'the server fails'}")
    return failure


def _said(error: hvac_errors.VaultError, sent: Sequence[Secret]) -> str:
    texts = error.errors if isinstance(error.errors, list) else []
    whole = " ".join(" ".join(str(text).split()) for text in texts)
    # Whole first, then by words: of a secret with blanks in it the second would leave what looks like a word.
    line = last_line(_ITEM.sub("", whole).encode(), b"", [secret.reveal() for secret in sent])
    return _UNLIKE_A_WORD.sub("***", line)
