"""What a path holds: where its engine is mounted, how to read it, and which token the answer is. Mostly pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.errors import PermanentFetchError, TransientFetchError
from broker.model import Issued, Kind
from broker.secret import Secret, flaw
from broker.sources import answer as answers
from broker.sources import expiry
from broker.sources.vault.login import seconds
from broker.sources.vault.settings import VaultSettings

_NAMES_MAX: Final = 20
_V2: Final = frozenset({"data", "metadata"})


@dataclass(frozen=True, slots=True)
class Mount:
    """Where an engine is mounted (ends with a slash), and of which kind it is."""

    path: str
    type: str
    version: str | None = None

    @classmethod
    def of(cls, answer: object) -> Mount | None:
        """Read `sys/internal/ui/mounts/PATH`; None where it says nothing."""
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, dict) or not isinstance(data.get("path"), str) or not data["path"].endswith("/"):
            return None
        options = data.get("options")
        version = options.get("version") if isinstance(options, dict) else None
        return cls(data["path"], str(data.get("type")), None if version is None else str(version))

    @property
    def is_v2(self) -> bool:
        """Whether it keeps versions."""
        return self.type == "kv" and self.version == "2"


def api_path(settings: VaultSettings, mount: Mount | None) -> str:
    """Return the path to call: users write what the command line takes, which leaves out the `data/` of KV v2."""
    if mount is None or not mount.is_v2 or settings.data is not None:
        return settings.path
    rest = settings.path.removeprefix(mount.path)
    return settings.path if rest.startswith("data/") else f"{mount.path}data/{rest}"


@dataclass(frozen=True, slots=True)
class Lease:
    """What the server lent; `duration_s` when it was new."""

    id: str
    duration_s: float
    renewable: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A token, and the lease that it is on, if it is on one."""

    issued: Issued
    lease: Lease | None = None


def found(answer: object, settings: VaultSettings, now: float) -> Found:
    """Make a credential of an answer; `now` in epoch seconds. Raises `PermanentFetchError`, `TransientFetchError`."""
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
        raise TransientFetchError(f"{settings.path}: the answer holds no data")
    data, details = answer["data"], {"path": settings.path}
    if data.keys() == _V2 and isinstance(data["data"], dict) and isinstance(data["metadata"], dict):
        details["version"] = str(data["metadata"].get("version"))
        data = data["data"]
    lease = _lease(answer)
    try:
        issued = _issued(data, settings, _expiry(data, lease, now), now)
    except answers.BadAnswer as bad:
        raise PermanentFetchError(f"{settings.path}: {bad}") from None
    return Found(Issued(issued.parts, issued.expires_at, issued.kind, details, borrowed=lease is not None), lease)


def _lease(answer: Mapping[str, Any]) -> Lease | None:
    lease_id, duration_s = answer.get("lease_id"), seconds(answer.get("lease_duration"))
    if not isinstance(lease_id, str) or not lease_id or not duration_s:
        return None
    return Lease(lease_id, duration_s, bool(answer.get("renewable")))


def _expiry(data: Mapping[str, Any], lease: Lease | None, now: float) -> float | None:
    """A lease ends; of the rest PKI says when, and a JWT is asked later."""
    if lease is not None:
        return now + lease.duration_s
    if "certificate" in data or "serial_number" in data:
        try:
            return expiry.moment(data.get("expiration"))
        except expiry.BadTime:
            return None
    return None


def _issued(data: Mapping[str, Any], settings: VaultSettings, expires_at: float | None, now: float) -> Issued:
    if settings.field is None and {"access_key", "secret_key"} <= data.keys():
        return _aws_session(data, expires_at)
    return answers.token(_text(data, settings), now, expires_at)


def _aws_session(data: Mapping[str, Any], expires_at: float | None) -> Issued:
    """The AWS engine's answer (its `session_token` was called `security_token` before Vault 1.16)."""
    names = {
        "access_key_id": data["access_key"],
        "secret_access_key": data["secret_key"],
        "session_token": data.get("session_token") or data.get("security_token"),
    }
    given = {name: text for name, text in names.items() if text is not None}
    for name, text in given.items():
        problem = flaw(text) if isinstance(text, str) else "is not text"
        if problem is not None:
            raise answers.BadAnswer(f"{name} {problem}")
    return Issued({name: Secret(text) for name, text in given.items()}, expires_at, Kind.AWS_SESSION)


def _text(data: Mapping[str, Any], settings: VaultSettings) -> str:
    field = settings.field
    if field is None:
        if len(data) != 1:
            raise answers.BadAnswer(f"which field? It has {_names(data)}; set field")
        (field,) = data
    value = data[field] if field in data else answers.dig(data, field)
    if value is None:
        raise answers.BadAnswer(f"it has no field {_name(field)}; it has {_names(data)}")
    if isinstance(value, dict):
        raise answers.BadAnswer(f"field {_name(field)} is no text but has fields itself: {_names(value)}")
    if not isinstance(value, str):
        raise answers.BadAnswer(f"field {_name(field)} is not text")
    return value


def _names(data: Mapping[str, Any]) -> str:
    """List the names, never values."""
    names = [_name(str(name)) for name in sorted(data)]
    return (", ".join(names[:_NAMES_MAX]) + (", ..." if len(names) > _NAMES_MAX else "")) or "none"


def _name(name: str) -> str:
    return name if name.isprintable() and len(name) <= 40 else "(odd name)"  # noqa: PLR2004  # what fits into a line


def absence(settings: VaultSettings, body: object) -> str | None:
    """Say what became of a KV v2 secret that is not there; None where the server does not know it."""
    data = body.get("data") if isinstance(body, dict) else None
    metadata = data.get("metadata") if isinstance(data, dict) else None
    if not isinstance(metadata, dict):
        return None
    version = metadata.get("version")
    if metadata.get("destroyed"):
        return f"{settings.path}: version {version} was destroyed; write a new one"
    at = expiry.moment(metadata["deletion_time"]) if metadata.get("deletion_time") else None
    when = f" at {metadata['deletion_time'][:19]}Z" if at is not None else ""
    return f"{settings.path}: version {version} was deleted{when}; run: bao kv undelete -versions={version} {settings.path}"
