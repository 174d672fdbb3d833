"""What a `gcp` source and its credentials take in the config."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Final, Literal

from broker.durations import Duration
from broker.errors import BadRequest, Refused
from broker.model import Kind
from broker.sources import answer
from broker.sources.gcp.places import DEFAULT_UNIVERSE, Apis
from broker.sources.interface import Wish
from broker.sources.references import Reference
from broker.sources.web.server import absolute

CLOUD_PLATFORM: Final = "https://www.googleapis.com/auth/cloud-platform"
"""The scope that stands for whatever the account may do in Google Cloud."""

_TIMEOUT: Final = Duration(10)
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9._-]{1,64}@[A-Za-z0-9.-]{1,190}", re.ASCII)
_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9.:-]{0,98}", re.ASCII)
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,250}", re.ASCII)
"""RFC 6749, 3.3."""
_CLIENT: Final = re.compile(r"[A-Za-z0-9._-]{1,250}", re.ASCII)
_AUDIENCE: Final = re.compile(r"[\x21-\x7e]{1,1000}", re.ASCII)
_UNIVERSE: Final = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){1,5}", re.ASCII)
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)
_LOCATION: Final = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)
_FULL_NAME: Final = re.compile(r"projects/(?P<project>[^/]*)/secrets/(?P<secret>[^/]*)")
_PROJECT_VARIABLES: Final = ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT")
_QUOTA_VARIABLE: Final = "GOOGLE_CLOUD_QUOTA_PROJECT"


_BELONGING: Final = {
    "access-token": ("scopes", "id_tokens"),
    "id-token": ("target_audience",),
    "secret": ("secret", "version", "project", "location", "field"),
}
"""Which keys of a credential are for which kind."""


@dataclass(frozen=True, slots=True)
class SignInSettings:
    """A person's sign-in, as the application of `client_id` (of type desktop); `scopes`: beside who it is."""

    client_id: str
    client_secret: Reference | None = None
    scopes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _CLIENT.fullmatch(self.client_id):
            raise ValueError("client_id must be an OAuth client's, such as 123-abc.apps.googleusercontent.com")
        if not all(_SCOPE.fullmatch(scope) for scope in self.scopes):
            raise ValueError(f"scopes is a list such as [{CLOUD_PLATFORM!r}]")


@dataclass(frozen=True, slots=True)
class GcpSourceSettings:
    """Who we are at Google; `timeout` is of one call, in seconds.

    `credentials`: where the JSON is (application default credentials, if none is given); or `sign_in`: a person does.
    `impersonate`: the service account to act as, through `delegates`. `allow_executable`: the JSON may name a program
    to run. `api_endpoints`: other addresses of Google's services than the public ones.
    """

    credentials: Reference | None = None
    sign_in: SignInSettings | None = None
    impersonate: str | None = None
    delegates: tuple[str, ...] = ()
    quota_project: str | None = None
    project: str | None = None
    universe_domain: str = DEFAULT_UNIVERSE
    allow_executable: bool = False
    api_endpoints: Apis = field(default_factory=Apis)
    ca_cert: str | None = None
    timeout: Duration = _TIMEOUT

    def __post_init__(self) -> None:
        object.__setattr__(self, "ca_cert", absolute("ca_cert", self.ca_cert))
        if self.credentials is not None and self.sign_in is not None:
            raise ValueError("credentials and sign_in exclude each other")
        if self.delegates and self.impersonate is None:
            raise ValueError("delegates belongs to impersonate")
        for name, accounts in (("impersonate", (self.impersonate,)), ("delegates", self.delegates)):
            if not all(account is None or _ACCOUNT.fullmatch(account) for account in accounts):
                raise ValueError(f"{name}: expected the e-mail of a service account")
        for name in ("quota_project", "project"):
            check_project(name, getattr(self, name))
        if not _UNIVERSE.fullmatch(self.universe_domain):
            raise ValueError("universe_domain must be a domain such as googleapis.com")

    @property
    def known_project(self) -> str | None:
        """The project that the config or the daemon's environment names."""
        return self.project or _of_environment(*_PROJECT_VARIABLES)

    @property
    def known_quota_project(self) -> str | None:
        """The project to count calls for that the config or the daemon's environment names."""
        return self.quota_project or _of_environment(_QUOTA_VARIABLE)


@dataclass(frozen=True, slots=True)
class GcpSettings:
    """What is wanted by that identity.

    `access-token`: for `scopes`; `id_tokens`: the audiences that the metadata endpoint may give ID tokens for (any,
    if not given). `id-token`: for `target_audience`. `secret`: of Secret Manager, by name or as
    projects/P/secrets/S; `version`: the latest, if not given; `field`: dotted, where it is JSON; `location`: of a
    regional one.
    """

    kind: Literal["access-token", "id-token", "secret"] = "access-token"
    scopes: tuple[str, ...] = ()
    id_tokens: tuple[str, ...] | None = None
    target_audience: str | None = None
    secret: str | None = None
    version: int | None = None
    project: str | None = None
    location: str | None = None
    field: str | None = None

    def __post_init__(self) -> None:
        self._check_belonging()
        if not all(_SCOPE.fullmatch(scope) for scope in self.scopes):
            raise ValueError(f"scopes is a list such as [{CLOUD_PLATFORM!r}]")
        check_project("project", self.project)
        if self.kind == "access-token":
            object.__setattr__(self, "scopes", self.scopes or (CLOUD_PLATFORM,))
        if self.kind == "id-token" and not _AUDIENCE.fullmatch(self.target_audience or ""):
            raise ValueError("target_audience must name the service that the ID token is for, such as its URL")
        if self.kind == "secret":
            self._check_secret()

    def _check_belonging(self) -> None:
        for kind, names in _BELONGING.items():
            if kind != self.kind and any(getattr(self, name) for name in names):
                raise ValueError(f'{", ".join(names)}: for kind = "{kind}" only')

    def _check_secret(self) -> None:
        full = _FULL_NAME.fullmatch(self.secret or "")
        if full is not None:
            check_project("secret", full["project"])
            object.__setattr__(self, "project", full["project"])
            object.__setattr__(self, "secret", full["secret"])
        if not _SECRET.fullmatch(self.secret or ""):
            raise ValueError("secret must be the name of a secret, or projects/PROJECT/secrets/NAME")
        if self.version is not None and self.version < 1:
            raise ValueError("version counts from 1")
        if self.location is not None and not _LOCATION.fullmatch(self.location):
            raise ValueError("location must be a region such as europe-west1")
        if self.field is not None and not answer.is_path(self.field):
            raise ValueError("field must be names joined by dots")


def _of_environment(*names: str) -> str | None:
    values = (os.environ.get(name) for name in names)
    return next((project for project in values if project and _PROJECT.fullmatch(project)), None)


def check_project(name: str, project: str | None) -> None:
    """Raise `ValueError` where this is no project's ID or number."""
    if project is not None and not _PROJECT.fullmatch(project):
        raise ValueError(f"{name}: expected the ID of a project")


def kind(settings: GcpSettings) -> Kind:
    """Say what a credential will be."""
    kinds = {"access-token": Kind.ACCESS_TOKEN, "id-token": Kind.ID_TOKEN, "secret": Kind.API_KEY}
    return kinds[settings.kind]


def derived(settings: GcpSettings, wish: Wish) -> GcpSettings:
    """Grant a wish as far as the config allows (see `SourceType.derived`)."""
    if wish.target_audience is not None:
        return _id_token(settings, wish.target_audience)
    if settings.kind != "access-token":
        raise BadRequest(f"this credential is of kind {settings.kind}, so it gives no access tokens")
    # As the real metadata server: what may not be asked for is left out, and scopes that leave nothing are ignored.
    allowed = tuple(sorted({scope for scope in wish.scopes if scope in settings.scopes}))
    if not allowed or set(allowed) == set(settings.scopes):
        return settings
    return GcpSettings(scopes=allowed)


def _id_token(settings: GcpSettings, audience: str) -> GcpSettings:
    if settings.target_audience == audience:
        return settings
    if settings.kind == "secret":
        raise BadRequest("this credential is a secret, so it gives no ID tokens")
    if settings.kind == "id-token" or (settings.id_tokens is not None and audience not in settings.id_tokens):
        raise Refused("no ID token for this audience; add it to `id_tokens` of the credential, of kind access-token")
    try:
        return GcpSettings(kind="id-token", target_audience=audience)
    except ValueError:
        raise BadRequest("the audience must be printable text without blanks, of at most 1,000 characters") from None
