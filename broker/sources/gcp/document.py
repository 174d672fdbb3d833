"""A credentials' JSON: read strictly, and its addresses checked before any library believes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from broker.errors import PermanentFetchError
from broker.secret import Secret
from broker.sources import answer
from broker.sources.gcp import places

KINDS: Final = (
    "service_account",
    "authorized_user",
    "external_account",
    "external_account_authorized_user",
    "impersonated_service_account",
)
"""Values of `type` that we take; Google's libraries know `gdch_service_account` too."""

_TO_GOOGLE: Final = ("token_uri", "token_url", "token_info_url", "revoke_url", "service_account_impersonation_url")
_OF_AWS: Final = ("region_url", "url", "imdsv2_session_token_url")
_SECRETS: Final = ("private_key", "refresh_token", "client_secret", "access_token")

# They come into messages, with commands that people paste, and into addresses.
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9._%+-]{1,100}@[A-Za-z0-9.-]{1,190}", re.ASCII)
_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9.:-]{0,98}", re.ASCII)
_AUDIENCE: Final = re.compile(r"//[a-z.]{1,100}/[A-Za-z0-9/_.-]{1,400}", re.ASCII)
_IMPERSONATION: Final = re.compile(rf".*/({_ACCOUNT.pattern}):generateAccessToken", re.ASCII)

Info = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """What it says, and `where` it was, for messages. `subject_token`: of a workload, where the JSON names a file."""

    info: Info = field(repr=False)
    where: str
    subject_token: Secret | None = None

    @property
    def type(self) -> str:
        """Which kind of credentials it is."""
        return str(self.info["type"])

    @property
    def origin(self) -> Info:
        """The credentials that the others are made by: of an impersonation, those of who impersonates."""
        source = self.info.get("source_credentials")
        return source if isinstance(source, dict) else self.info

    @property
    def secrets(self) -> list[Secret]:
        """What must not be shown, should anybody quote it."""
        found = (info.get(name) for info in (self.info, self.origin) for name in _SECRETS)
        return [Secret(value) for value in found if isinstance(value, str) and value]

    @property
    def account(self) -> str | None:
        """The e-mail of who the origin is, where it tells."""
        named = self.origin.get("client_email") or self.origin.get("account")
        return _matching(_ACCOUNT, named)

    @property
    def pool(self) -> str | None:
        """The federation that the origin comes by."""
        return _matching(_AUDIENCE, self.origin.get("audience"))

    @property
    def project(self) -> str | None:
        """The project of the origin."""
        return _matching(_PROJECT, self.origin.get("project_id"))

    @property
    def quota_project(self) -> str | None:
        """The project that calls are counted for."""
        return _matching(_PROJECT, self.info.get("quota_project_id") or self.origin.get("quota_project_id"))

    @property
    def impersonated(self) -> tuple[str, tuple[str, ...]] | None:
        """The service account that it is good for acting as, and through whom."""
        url = self.info.get("service_account_impersonation_url")
        if url is None:
            return None
        found = _IMPERSONATION.fullmatch(str(url))
        delegates = self.info.get("delegates") or []
        names = [str(name).rpartition("/")[2] for name in delegates] if isinstance(delegates, list) else [""]
        if found is None or not all(_ACCOUNT.fullmatch(name) for name in names):
            raise PermanentFetchError(f"{self.where}: it names no service account to act as")
        return found[1], tuple(names)

    @property
    def token_file(self) -> Info | None:
        """Where a workload's token is, if it is in a file: `credential_source` of the JSON."""
        source = self.origin.get("credential_source")
        return source if isinstance(source, dict) and isinstance(source.get("file"), str) else None

    @property
    def is_user(self) -> bool:
        """Whether a person's sign-in is behind it, which a person can repeat."""
        return self.origin.get("type") in {"authorized_user", "external_account_authorized_user"}


def read(text: str, where: str, universe: str) -> Document:
    """Read a JSON. Raises `PermanentFetchError`, which quotes no value."""
    try:
        info = answer.json_object(text)
    except answer.BadAnswer as bad:
        raise PermanentFetchError(f"{where}: no credentials' JSON of Google's: {bad}") from None
    document = Document(info, where)
    for part in (info, document.origin):
        if part.get("type") not in KINDS:
            raise PermanentFetchError(f"{where}: its type is none of {', '.join(KINDS)}; is it a client's file?")
    _check_universe(document, universe)
    for part in (info, document.origin):
        _check_addresses(part, where, universe)
    return document


def _check_universe(document: Document, universe: str) -> None:
    named = document.info.get("universe_domain", places.DEFAULT_UNIVERSE)
    if named != universe:
        # Else who writes the JSON decides whom a token is sent to.
        raise PermanentFetchError(
            f"{document.where}: it is of another universe_domain than the source; if you trust it, set universe_domain"
            f" of the source to what it says"
        )


def _check_addresses(info: Info, where: str, universe: str) -> None:
    for name in _TO_GOOGLE:
        url = info.get(name)
        if url is not None and not (isinstance(url, str) and places.is_googles(url, universe)):
            raise PermanentFetchError(
                f"{where}: its {name} is no https address of Google's ({universe}), and would be sent what is as good"
                " as a token; get the file anew from Google"
            )
    source = info.get("credential_source")
    if isinstance(source, dict):
        if "certificate" in source:
            raise PermanentFetchError(
                f"{where}: workloads that show a certificate are not supported; use another provider"
            )
        for name, url in _asked(source):
            allowed = places.is_of_aws_metadata if "environment_id" in source else places.may_be_asked
            if not (isinstance(url, str) and allowed(url.replace("{region}", "region"))):
                raise PermanentFetchError(
                    f"{where}: credential_source.{name} is no address to ask for a token; mend it"
                )


def _matching(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _asked(source: Info) -> Iterator[tuple[str, object]]:
    return ((name, source[name]) for name in _OF_AWS if name in source)
