"""What IAM Identity Center answers when it does not give what is asked for, in our words: one line with what mends it.

Loads botocore: import it from a thread, at the first call.
"""

from __future__ import annotations

from typing import Final

from botocore.exceptions import ClientError

from broker.errors import FetchError, LoginPending, LoginRequired, PermanentFetchError, TransientFetchError
from broker.sources.aws.errors import Call
from broker.sources.aws.errors import translated as as_ever
from broker.sources.aws.refusals import TokenRefused
from broker.sources.aws.sdk import Sdk
from broker.sources.aws.sso.settings import SsoSettings
from broker.sources.aws.sso.token import REFRESH, SIGN_IN

_ENDED: Final = frozenset(
    {"InvalidGrantException", "InvalidClientException", "UnauthorizedClientException", "ExpiredTokenException"}
)
_BUSY: Final = frozenset({"TooManyRequestsException", "SlowDownException", "ThrottlingException", "Throttling"})
_ABSENT: Final = frozenset({"ForbiddenException", "ResourceNotFoundException", "AccessDeniedException"})
_SERVER_FAILS: Final = 500
_TOO_MANY: Final = 429


def translated(error: Exception, settings: SsoSettings, sdk: Sdk, what: str, command: str) -> FetchError:
    """Say in our words why `what` failed; `command` is what a person runs to sign in.

    Of AWS's own words the error's name is told alone: an answer may quote what it was sent.
    """
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        place = f"Identity Center {settings.start_url}"
        return (
            _of_person(code, what, place, command)
            or _of_server(code, status, f"{place}: {what}")
            or _of_settings(code, what, place, settings)
        )
    return as_ever(error, Call(f"Identity Center in {settings.region}: {what}", sdk.settings, sdk.skew))


def _of_person(code: str, what: str, place: str, command: str) -> FetchError | None:
    """Find what the sign-in waits for, or that it is over."""
    known: dict[str, FetchError] = {
        "UnauthorizedException": TokenRefused(f"{place}: the sign-in has ended; run: {command}")
    }
    if what in {SIGN_IN, REFRESH}:
        known |= dict.fromkeys(_ENDED, LoginRequired(f"{place}: the sign-in has ended; run: {command}"))
    if what == SIGN_IN:
        known |= {
            "AuthorizationPendingException": LoginPending(),
            "SlowDownException": LoginPending(slow_down=True),
            "ExpiredTokenException": LoginRequired(f"{place}: nobody confirmed the code in time; run: {command}"),
            "AccessDeniedException": LoginRequired(f"{place}: the sign-in was refused; to try again run: {command}"),
        }
    return known.get(code)


def _of_server(code: str, status: int | None, line: str) -> FetchError | None:
    if code in _BUSY or status == _TOO_MANY:
        return TransientFetchError(f"{line}: asked too often")
    if status is None or status >= _SERVER_FAILS:
        return TransientFetchError(f"{line}: AWS fails ({code[:60] or status})")
    return None


def _of_settings(code: str, what: str, place: str, settings: SsoSettings) -> FetchError:
    if code in _ABSENT:
        return PermanentFetchError(
            f"{place}: you have no role {settings.role_name} in account {settings.account_id}; mend role_name and"
            " account_id of `sso`, or ask for the assignment"
        )
    return PermanentFetchError(f"{place}: {what}: refused ({code[:60]}); check start_url and region of `sso`")
