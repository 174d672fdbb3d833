"""What can be got by an identity: access tokens, ID tokens, secrets. Blocking; each call gets a new one.

Loads google-auth: import it from a thread, at the first call.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from google.auth.exceptions import GoogleAuthError

from broker.errors import FetchError, PermanentFetchError, TransientFetchError
from broker.model import TOKEN, Issued, Kind
from broker.secret import Secret, flaw
from broker.sources import expiry
from broker.sources.gcp import adc
from broker.sources.gcp.errors import METADATA, Refusal
from broker.sources.gcp.identity import IAM_SCOPES, Credentials, Identity, delegated
from broker.sources.gcp.settings import GcpSettings
from broker.sources.gcp.transport import Request

_ID_TOKEN: Final = "{}/v1/projects/-/serviceAccounts/{}:generateIdToken"  # noqa: S105  # an address


@dataclass(frozen=True, slots=True)
class Bearer:
    """An access token of the identity's, to call one of Google's services by."""

    credentials: Credentials

    @property
    def headers(self) -> dict[str, str]:
        """What goes along with a call."""
        headers: dict[str, str] = {}
        self.credentials.apply(headers)  # the quota project too
        return headers


def access_token(identity: Identity, settings: GcpSettings, request: Request, made: Credentials) -> Issued:
    """Get an access token by `made`, credentials of the identity's for these scopes."""
    refreshed(made, request)
    details = _described(identity, made, request) | {"scopes": " ".join(settings.scopes)}
    token = _checked(made.token)
    return Issued({TOKEN: token}, _ahead(_seconds(made.expiry), request), Kind.ACCESS_TOKEN, details)


def id_token(identity: Identity, settings: GcpSettings, request: Request) -> Issued:
    """Get an ID token for `target_audience`. Raises `PermanentFetchError` where the identity cannot have any."""
    audience = settings.target_audience or ""
    if identity.impersonated is not None:
        token = _generated(identity, audience, request)
    else:
        made = _by_itself(identity, audience, request)
        refreshed(made, request)
        token = made.token
    expires_at = expiry.of_jwt(token) if isinstance(token, str) else None
    if expires_at is None:
        raise TransientFetchError("Google gave something as an ID token that is none")
    details = {"target_audience": audience}
    if identity.email is not None:
        details["email"] = identity.email
    return Issued({TOKEN: _checked(token)}, _ahead(expires_at, request), Kind.ID_TOKEN, details)


def bearer(identity: Identity, request: Request, made: Credentials | None = None) -> Bearer:
    """Get an access token to call Google's services by."""
    made = identity.credentials(IAM_SCOPES) if made is None else made
    refreshed(made, request)
    return Bearer(made)


def refreshed(made: Credentials, request: Request) -> None:
    """Have the credentials get a new token, whatever they have. Raises `FetchError`, and `Refusal`."""
    try:
        made.refresh(request)
    except GoogleAuthError as error:
        raise Refusal(error, request.last) from None
    except FetchError:
        raise
    except Exception as error:  # noqa: BLE001  # an answer that the library did not expect
        raise TransientFetchError(
            f"{request.last.url if request.last else 'Google'}: an answer without sense ({type(error).__name__})"
        ) from None


def called(request: Request, url: str, method: str, body: Mapping[str, Any] | None, by: Bearer) -> dict[str, Any]:
    """Call one of Google's services; return its JSON. Raises `Refusal`."""
    content = None if body is None else json.dumps(body).encode()
    answer = request(url, method, content, {"Content-Type": "application/json", **by.headers})
    if answer.status != 200:  # noqa: PLR2004  # HTTP's
        raise Refusal(None, answer)
    return answer.json


def _by_itself(identity: Identity, audience: str, request: Request) -> Credentials:
    document = identity.document
    try:
        if document is None:
            from google.auth import compute_engine  # noqa: PLC0415  # of its kind alone

            return compute_engine.IDTokenCredentials(
                request, audience, use_metadata_identity_endpoint=True, bind_id_token=False
            )
        if document.type == "service_account":
            from google.oauth2 import service_account  # noqa: PLC0415  # of its kind alone

            return service_account.IDTokenCredentials.from_service_account_info(document.info, target_audience=audience)
    except (GoogleAuthError, ValueError, KeyError, TypeError) as error:
        raise Refusal(error if isinstance(error, GoogleAuthError) else None, request.last) from None
    raise PermanentFetchError(
        f"{document.where}: {document.type} credentials give no ID tokens for an audience; set impersonate of the source"
        " to a service account"
    )


def _generated(identity: Identity, audience: str, request: Request) -> object:
    account, delegates = identity.impersonated or ("", ())
    by = bearer(identity, request, identity.asker(IAM_SCOPES))
    body = {"audience": audience, "includeEmail": True, "delegates": delegated(delegates)}
    return called(request, _ID_TOKEN.format(identity.api("iamcredentials"), account), "POST", body, by).get("token")


def _checked(token: object) -> Secret:
    if not isinstance(token, str) or flaw(token) is not None:
        raise TransientFetchError("Google gave something as a token that is none")
    return Secret(token)


def _seconds(naive: datetime | None) -> float | None:
    """Read a time of google-auth's, which is in UTC without saying so."""
    return None if naive is None else naive.replace(tzinfo=UTC).timestamp()


def _ahead(expires_at: float | None, request: Request) -> float | None:
    if expires_at is not None and expires_at <= time.time():
        ahead_s = request.last.ahead_s if request.last is not None else None
        off = f" by {ahead_s / 60:.0f} min" if ahead_s is not None else ""
        raise TransientFetchError(f"Google's token is expired already: is this machine's clock ahead{off}?")
    return expires_at


def _described(identity: Identity, made: Credentials, request: Request) -> dict[str, str]:
    """Say whose token it is. A metadata server knows the rest; that it does not tell is no reason to fail."""
    email, project, number = identity.email, identity.project, None
    if identity.document is None:
        email = email or getattr(made, "service_account_email", None)
        project = project or _told(request, "project/project-id")
        number = _told(request, "project/numeric-project-id")
    found = {
        "email": email,
        "project_id": project,
        "project_number": number,
        "quota_project": made.quota_project_id,
        "universe_domain": identity.settings.universe_domain,
    }
    return {name: value for name, value in found.items() if value}


def _told(request: Request, path: str) -> str | None:
    host = adc.metadata_host()
    try:
        answer = request(f"http://{host}{METADATA}{path}", headers={"Metadata-Flavor": "Google"})
    except TransientFetchError:
        return None
    text = answer.data.decode(errors="replace").strip()
    return text if answer.status == 200 and 0 < len(text) < 100 and text.isprintable() else None  # noqa: PLR2004  # HTTP's, and far more than any name
