"""Google credentials of each kind, made of a JSON or of the metadata server: whose tokens can be asked for.

Loads google-auth: import it from a thread, at the first call. What differs from `google.auth.default` and
`load_credentials_from_dict`: the JSON was checked before (`document`), a program is run by our rules, and nothing is
asked over the network until a token is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.errors import FetchError, PermanentFetchError
from broker.secret import Secret
from broker.sources.gcp import places
from broker.sources.gcp.document import Document, Info
from broker.sources.gcp.settings import CLOUD_PLATFORM, GcpSourceSettings

Credentials = Any
"""A `google.auth.credentials.Credentials`; google-auth has no types."""

IAM_SCOPES: Final = (CLOUD_PLATFORM,)
"""What who impersonates needs."""

_AWS_TOKEN: Final = "urn:ietf:params:aws:token-type:aws4_request"  # noqa: S105  # the name of a type
_LIFETIME_S: Final = 3600
_SHORTEST_S: Final = 600
_OF_PROJECT: Final = re.compile(r"@([a-z0-9-]{1,60})\.iam\.gserviceaccount\.com$", re.ASCII)
_GENERATE: Final = "{}/v1/projects/-/serviceAccounts/{}:generateAccessToken"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. `document`: None where the metadata server knows. `email`: the service account's, where that is known."""

    settings: GcpSourceSettings
    document: Document | None

    @property
    def impersonated(self) -> tuple[str, tuple[str, ...]] | None:
        """The service account to act as, and through whom; None where who asks is who acts."""
        if self.settings.impersonate is not None:
            return self.settings.impersonate, self.settings.delegates
        return None if self.document is None else self.document.impersonated

    @property
    def email(self) -> str | None:
        """Whom the tokens are of, as far as the settings tell."""
        if (acts_as := self.impersonated) is not None:
            return acts_as[0]
        return None if self.document is None else self.document.account

    @property
    def asks_as(self) -> str:
        """Name who asks, for messages: of an impersonation, who impersonates."""
        named = None if self.document is None else self.document.account or self.document.pool
        return named or ("the signed-in user" if self.of_person else "the account that asks")

    @property
    def member(self) -> str:
        """Name who asks as an IAM policy does."""
        if self.of_person:
            return f"user:{self.asks_as if '@' in self.asks_as else 'YOU'}"
        return f"serviceAccount:{self.asks_as}" if "@" in self.asks_as else "..."

    @property
    def of_person(self) -> bool:
        """Whether a person's sign-in is behind it."""
        return self.document is not None and self.document.is_user

    @property
    def quota_project(self) -> str | None:
        """What calls are counted for, if that is set."""
        told = None if self.document is None else self.document.quota_project
        return self.settings.known_quota_project or told

    @property
    def project(self) -> str | None:
        """The project that the account belongs to, or that work is done in; None where nothing tells."""
        if self.settings.known_project is not None:
            return self.settings.known_project
        if self.document is not None and self.document.project is not None and self.impersonated is None:
            return self.document.project
        of_account = _OF_PROJECT.search(self.email or "")
        return of_account[1] if of_account is not None else self.quota_project

    def credentials(self, scopes: Sequence[str]) -> Credentials:
        """Make credentials whose access tokens are for these scopes. Raises `PermanentFetchError`."""
        acts_as = self.impersonated
        if acts_as is None:
            return self.asker(scopes)
        account, delegates = acts_as
        from google.auth import impersonated_credentials  # noqa: PLC0415  # of its kind alone

        return impersonated_credentials.Credentials(
            self.asker(IAM_SCOPES),
            account,
            list(scopes),
            delegates=delegated(delegates),
            lifetime=_lifetime_s(self.document),
            quota_project_id=self.quota_project,
            iam_endpoint_override=_GENERATE.format(self.api("iamcredentials"), account),
        )

    def asker(self, scopes: Sequence[str]) -> Credentials:
        """Make the credentials of who asks, whether or not these then impersonate. Raises `PermanentFetchError`."""
        if self.document is None:
            return _of_metadata(scopes, self.settings)
        document = self.document
        origin = Document(_without_impersonation(document.origin), document.where, document.subject_token)
        try:
            made = _MAKERS[origin.type](origin, self.settings, scopes)
        except FetchError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever the libraries find wrong with it
            # Not the library's own words: they may quote what is wrong.
            raise PermanentFetchError(
                f"{origin.where}: its {origin.type} lacks something or is malformed ({type(error).__name__})"
            ) from None
        return made.with_quota_project(self.quota_project) if self.quota_project else made

    def api(self, service: str, location: str | None = None) -> str:
        """Return the base URL of one of Google's services."""
        return places.address(self.settings.api_endpoints, service, self.settings.universe_domain, location)


def delegated(accounts: Sequence[str]) -> list[str]:
    """Name accounts as the IAM API wants it."""
    return [account if "/" in account else f"projects/-/serviceAccounts/{account}" for account in accounts]


def _of_metadata(scopes: Sequence[str], settings: GcpSourceSettings) -> Credentials:
    from google.auth import compute_engine  # noqa: PLC0415  # of its kind alone

    # A universe that is given is not asked for, by a request that is not ours.
    made = compute_engine.Credentials(scopes=list(scopes), universe_domain=settings.universe_domain)
    return made.with_quota_project(settings.quota_project) if settings.quota_project else made


def _service_account(document: Document, _settings: GcpSourceSettings, scopes: Sequence[str]) -> Credentials:
    from google.oauth2 import service_account  # noqa: PLC0415  # of its kind alone

    return service_account.Credentials.from_service_account_info(document.info, scopes=list(scopes))


def _authorized_user(document: Document, _settings: GcpSourceSettings, scopes: Sequence[str]) -> Credentials:
    from google.oauth2 import credentials  # noqa: PLC0415  # of its kind alone

    made = credentials.Credentials.from_authorized_user_info(document.info, scopes=list(scopes))
    return made.with_token_uri(document.info["token_uri"]) if "token_uri" in document.info else made


def _workforce(document: Document, _settings: GcpSourceSettings, _scopes: Sequence[str]) -> Credentials:
    from google.auth import external_account_authorized_user  # noqa: PLC0415  # of its kind alone

    return external_account_authorized_user.Credentials.from_info(document.info)


def _external_account(document: Document, settings: GcpSourceSettings, scopes: Sequence[str]) -> Credentials:
    info = document.info
    source = info.get("credential_source")
    if info.get("subject_token_type") == _AWS_TOKEN:
        from google.auth import aws  # noqa: PLC0415  # of its kind alone

        return aws.Credentials.from_info(info, scopes=list(scopes))
    if isinstance(source, dict) and "executable" in source:
        from broker.sources.gcp.executable import credentials  # noqa: PLC0415  # of its kind alone

        return credentials(info, scopes, allowed=settings.allow_executable)
    from google.auth import identity_pool  # noqa: PLC0415  # of its kind alone

    if document.subject_token is not None:
        read = {"credential_source": None, "subject_token_supplier": _Read(document.subject_token)}
        return identity_pool.Credentials.from_info({**info, **read}, scopes=list(scopes))
    return identity_pool.Credentials.from_info(info, scopes=list(scopes))


@dataclass(frozen=True, slots=True)
class _Read:
    """A `google.auth.identity_pool.SubjectTokenSupplier` of a token that was read already, by the rules for files."""

    token: Secret

    def get_subject_token(self, _context: object, _request: object) -> str:
        return self.token.reveal()


_MAKERS: Final = {
    "service_account": _service_account,
    "authorized_user": _authorized_user,
    "external_account": _external_account,
    "external_account_authorized_user": _workforce,
}


def _without_impersonation(info: Info) -> Info:
    """We impersonate ourselves, in one way for all kinds."""
    left_out = {"service_account_impersonation_url", "service_account_impersonation"}
    return {name: value for name, value in info.items() if name not in left_out}


def _lifetime_s(document: Document | None) -> int:
    options = document.info.get("service_account_impersonation") if document is not None else None
    wanted = options.get("token_lifetime_seconds") if isinstance(options, dict) else None
    return wanted if isinstance(wanted, int) and _SHORTEST_S <= wanted <= 12 * _LIFETIME_S else _LIFETIME_S
