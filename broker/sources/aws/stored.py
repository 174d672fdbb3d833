"""Secrets Manager and Parameter Store: what is asked, and which token the answer is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from broker.errors import PermanentFetchError
from broker.model import Issued
from broker.sources import answer
from broker.sources.aws.sdk import Library
from broker.sources.aws.settings import AwsSettings

_NAMES_MAX: Final = 20
_NAME_MAX: Final = 40
_FACT_MAX: Final = 300


def secret(client: Library, settings: AwsSettings) -> tuple[str, dict[str, str]]:
    """Read a secret: its text, and facts that may be shown. Raises `PermanentFetchError`, and what botocore raises."""
    wanted = {
        "SecretId": settings.secret_id,
        "VersionStage": settings.version_stage,
        "VersionId": settings.version_id,
    }
    found = client.get_secret_value(**{name: value for name, value in wanted.items() if value is not None})
    details = _facts(secret=found.get("ARN") or settings.secret_id, version=found.get("VersionId"))
    if "SecretString" in found:
        return str(found["SecretString"]), details
    try:
        return answer.decode(found.get("SecretBinary", b"")), details
    except answer.BadAnswer as bad:
        raise PermanentFetchError(f"{settings.secret_id}: a binary secret, and {bad}") from None


def parameter(client: Library, settings: AwsSettings) -> tuple[str, dict[str, str]]:
    """Read a parameter, decrypted: its text, and facts that may be shown. Raises what botocore raises."""
    name = settings.parameter if settings.version is None else f"{settings.parameter}:{settings.version}"
    found = client.get_parameter(Name=name, WithDecryption=True).get("Parameter", {})
    details = _facts(parameter=found.get("ARN") or settings.parameter, version=found.get("Version"))
    return str(found.get("Value", "")), details


def issued(text: str, settings: AwsSettings, details: Mapping[str, str]) -> Issued:
    """Make a credential of a value. Raises `PermanentFetchError`, which quotes nothing of it."""
    place = settings.secret_id or settings.parameter
    try:
        made = answer.token(_token(text.removesuffix("\n"), settings.field), time.time())
    except answer.BadAnswer as bad:
        raise PermanentFetchError(f"{place}: {bad}") from None
    return Issued(made.parts, made.expires_at, made.kind, details)


def _token(text: str, field: str | None) -> str:
    if field is None and not text.startswith("{"):
        return text
    try:
        found = answer.json_object(text)
    except answer.BadAnswer as bad:
        hint = "" if field is None else "; remove field"
        raise answer.BadAnswer(f"it is {bad}{hint}") from None
    if field is None:
        if len(found) != 1:
            raise answer.BadAnswer(f"which field? It has {_names(found)}; set field")
        (field,) = found
    value = found[field] if field in found else answer.dig(found, field)
    if not isinstance(value, str):
        problem = f"has no field {field}" if value is None else f"has a field {field}, which is not text"
        raise answer.BadAnswer(f"it {problem}; it has {_names(found)}")
    return value


def _facts(**said: object) -> dict[str, str]:
    """Keep what can be shown: whoever answers may write control characters of a terminal there."""
    texts = {name: str(value) for name, value in said.items() if value is not None}
    return {
        name: text for name, text in texts.items() if len(text) <= _FACT_MAX and text.isascii() and text.isprintable()
    }


def _names(found: Mapping[str, Any]) -> str:
    """List the names, never values."""
    names = [name if name.isprintable() and len(name) <= _NAME_MAX else "(odd name)" for name in sorted(found)]
    return (", ".join(names[:_NAMES_MAX]) + (", ..." if len(names) > _NAMES_MAX else "")) or "none"
