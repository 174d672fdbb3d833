"""What goes wrong between us and AWS, in our words: one line with what mends it.

Loads botocore: import it from a thread, at the first call.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from botocore import exceptions as library
from botocore.parsers import ResponseParserError

from broker.errors import FetchError, LoginRequired, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sources.aws.refusals import KeysRefused
from broker.sources.aws.settings import AwsSourceSettings, Role
from broker.sources.aws.skew import SIGNATURES_FAIL_S, Skew
from broker.sources.aws.wording import Unauthorized, said
from broker.sources.web.causes import causes, words

_BUSY: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "LimitExceededException",
        "SlowDown",
        "IDPCommunicationError",
        "InternalServiceError",
        "InternalServerError",
        "ServiceUnavailable",
        "InternalFailure",
    }
)
_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedException"})
_DEAD_KEYS: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "InvalidAccessKeyId",
    }
)
_BAD_SIGNATURE: Final = frozenset(
    {"SignatureDoesNotMatch", "InvalidSignatureException", "RequestTimeTooSkewed", "RequestExpired", "AuthFailure"}
)
_ABSENT: Final = frozenset({"ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound"})
_SERVER_FAILS: Final = 500
_TOO_MANY: Final = 429
_ANOTHER_CODE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Call:
    """What was tried: `what` names it in messages; `role` where it was to be assumed; `sent` is kept out of messages.

    `sign_in`: what a person runs to sign in to the source. `asking`: settings were no longer looked at.
    """

    what: str
    settings: AwsSourceSettings
    skew: Skew
    role: Role | None = None
    by_token: bool = False
    sent: tuple[Secret, ...] = ()
    caller: Callable[[], str] = lambda: ""
    sign_in: str = ""
    asking: bool = False


def translated(error: Exception, call: Call) -> FetchError:
    """Say in our words why it failed."""
    if isinstance(error, FetchError):
        return error
    if isinstance(error, library.ClientError):
        return _Refusal(error, call).failure()
    if isinstance(error, library.HTTPClientError | library.ConnectionError):
        return TransientFetchError(f"{call.what}: {_unreached(error)}")
    if isinstance(error, library.BotoCoreError):
        return _ours(error, call)
    if call.asking or isinstance(error, ResponseParserError):
        # Cut off on the way, or from somebody in between. Not the library's words: they quote it, keys and all.
        return TransientFetchError(f"{call.what}: an answer without sense ({type(error).__name__}); {_HINT}")
    return PermanentFetchError(f"{call.what}: {said(str(error), call.sent) or type(error).__name__}")


class _Refusal:
    """An error that AWS answered with."""

    def __init__(self, error: library.ClientError, call: Call) -> None:
        details = error.response.get("Error", {})
        self.code = str(details.get("Code", ""))
        self.status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        self.said = said(str(details.get("Message") or ""), call.sent) or said(self.code, ()) or "refused"
        self.operation = error.operation_name
        self.call = call

    def failure(self) -> FetchError:
        """Say what it is."""
        worded: Callable[[], FetchError] = self._other
        if self.code in _BUSY or self.status == _TOO_MANY:
            worded = self._busy
        elif self.code in _BAD_SIGNATURE:
            worded = self._bad_signature
        elif self.code in _DEAD_KEYS and not self.call.by_token:
            worded = self._dead_keys
        elif self.code in _DENIED:
            worded = self._denied
        elif self.operation == "GetRoleCredentials":
            worded = self._no_sso
        return worded()

    @property
    def _what(self) -> str:
        return self.call.what

    def _busy(self) -> FetchError:
        return TransientFetchError(f"{self._what}: AWS is asked too often, or not ready ({self.said})")

    def _bad_signature(self) -> FetchError:
        skew = self.call.skew
        if abs(skew.seconds) >= SIGNATURES_FAIL_S:
            return TransientFetchError(f"{self._what}: the signature is refused: {skew.words}")
        return KeysRefused(
            f"{self._what}: the signature is refused ({self.said}); is the secret key that of the key id?"
        )

    def _dead_keys(self) -> FetchError:
        ended = "expired" in self.said.lower() or self.code.startswith("Expired")
        why = "have expired" if ended else "are not valid (deleted, deactivated, or of another partition)"
        return KeysRefused(f"{self._what}: the keys to begin with {why}; {self._renew()}")

    def _other(self) -> FetchError:
        line = f"{self._what}: {self.said}"
        if self.code in _ABSENT:
            line = f"{self._what}: it is not there ({self.said}); mend its name, or `region`"
        elif self.code == "RegionDisabledException":
            line += "; set another `region`, or have this one activated (IAM, Account settings)"
        elif self.code == "ExpiredTokenException":
            return TransientFetchError(f"{self._what}: the web identity token has expired ({self.said})")
        elif self.code in {"InvalidIdentityToken", "IDPRejectedClaim"}:
            line += "; check the identity provider and the conditions in the role's trust policy"
        elif "DurationSeconds" in self.said or "session limit" in self.said:
            line += "; lower `duration`, or raise the role's maximum (a role that a role assumes has at most 1h)"
        elif isinstance(self.status, int) and self.status >= _SERVER_FAILS:
            return TransientFetchError(f"{self._what}: AWS fails ({self.said})")
        return PermanentFetchError(line)

    def _renew(self) -> str:
        settings = self.call.settings
        if settings.secret_access_key is not None:
            return "store new ones where access_key_id and secret_access_key of the source say"
        if settings.profile is not None:
            return f"sign in again (aws sso login --profile {settings.profile}), or renew that profile's keys"
        return "sign in again, or renew the keys in the daemon's environment or in ~/.aws/credentials"

    def _denied(self) -> FetchError:
        if "one time pass code" in self.said:
            return TransientFetchError(
                f"{self._what}: AWS refuses the MFA code ({self.said}); check mfa_serial, and mfa_code's device",
                retry_after_s=_ANOTHER_CODE_S,
            )
        if self.operation == "GetSessionToken" and "session credentials" in self.said:
            return PermanentFetchError(
                f"{self._what}: only a user's own keys can have that, and these are a session's; remove"
                " get_session_token and mfa_serial"
            )
        known = Unauthorized.of(self.said)
        caller = known.caller if known is not None else self.call.caller()
        action = known.action if known is not None else f"{self.operation}"
        who = f"{caller} may not {action}" if caller else f"{action} is denied"
        if self.call.role is None:
            return PermanentFetchError(f"{self._what}: {who} ({self.said}); have it allowed")
        return PermanentFetchError(f"{self._what}: {who}; {self._trust(self.call.role)}")

    def _trust(self, role: Role) -> str:
        if self.call.by_token:
            return "the role's trust policy must name the token's issuer, and its conditions match the token"
        external = "another external_id than the one set here" if role.external_id is not None else "an external_id"
        mfa = "" if self.call.settings.mfa_serial is not None else " or MFA (mfa_serial)"
        return f"its permissions and the role's trust policy must both allow it; the role may want {external}{mfa}"

    def _no_sso(self) -> FetchError:
        return PermanentFetchError(
            f"{self._what}: IAM Identity Center does not give this account and role ({self.said}); check the profile's"
            " sso_account_id and sso_role_name"
        )


def _ours(error: library.BotoCoreError, call: Call) -> FetchError:
    """Word what botocore itself finds wrong."""
    profile = call.settings.profile
    option = f" --profile {profile}" if profile is not None else ""
    match error:
        case library.SSOError() | library.TokenRetrievalError():
            ours = f" (or: {call.sign_in})" if profile is not None and call.sign_in else ""
            line = "the SSO sign-in of the AWS CLI has ended, or never was"
            return LoginRequired(f"{line}; run: aws sso login{option}{ours}")
        case library.LoginError():
            return LoginRequired(f"the sign-in of the AWS CLI has ended; run: aws login{option}")
        case library.CredentialRetrievalError() if error.kwargs.get("provider") == "container-role":
            return TransientFetchError(
                "the container's endpoint that AWS_CONTAINER_CREDENTIALS_FULL_URI (or _RELATIVE_URI) of the daemon's"
                " environment names gives no keys; start the daemon without it, or give the source a profile:"
                f" {said(str(error.kwargs.get('error_msg')), call.sent)}"
            )
        case library.CredentialRetrievalError() | library.MetadataRetrievalError():
            return TransientFetchError(f"{call.what}: {said(str(error), call.sent)}")
    return PermanentFetchError(_mistake(error, call))


def _mistake(error: library.BotoCoreError, call: Call) -> str:
    """Word what is wrong with settings."""
    match error:
        case library.ProfileNotFound():
            named = call.settings.profile or "of the name in AWS_PROFILE"
            return f"there is no AWS profile {named}; mend `profile` of the source, or see: aws configure list-profiles"
        case library.ConfigParseError():
            return f"{error.kwargs.get('path')}: cannot be read as an AWS config file; mend it"
        case library.PartialCredentialsError():
            named = f"profile {profile}" if (profile := call.settings.profile) else "the environment"
            return f"the keys of {named} are incomplete: {error.kwargs.get('cred_var')} is missing; add it"
        case library.NoCredentialsError():
            return f"{call.what}: there are no keys to begin with; set `profile` of the source"
        case library.NoRegionError():
            return "no region is known; set `region` of the source, or of the profile"
    return f"{call.what}: {said(str(error), call.sent) or type(error).__name__}"


_HINT: Final = "check the network (a VPN? a proxy?) and `endpoint_url` or `region` of the source"


def _unreached(error: library.HTTPClientError) -> str:
    where = _where(error.kwargs)
    if isinstance(error, library.ConnectTimeoutError | library.ReadTimeoutError):
        return f"{where}: no answer in time; {_HINT}"
    if isinstance(error, library.ProxyConnectionError):
        return f"the proxy of the environment (HTTPS_PROXY) cannot be reached; {_HINT}"
    known = (found for found in map(_known, causes(error)) if found)
    return f"{where}: {next(known, f'cannot be reached ({type(error).__name__})')}; {_HINT}"


def _where(facts: Mapping[str, object]) -> str:
    url = str(facts.get("endpoint_url") or "AWS")
    return said(url.partition("?")[0].rstrip("/"), ())


def _known(cause: BaseException) -> str:
    trust = "; set AWS_CA_BUNDLE for the daemon" if isinstance(cause, ssl.SSLCertVerificationError) else ""
    return words(cause) + trust
