"""Google's Secret Manager, by its REST API: one version of one secret.

https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from broker.errors import PermanentFetchError, TransientFetchError
from broker.model import Issued
from broker.sources import answer
from broker.sources.gcp.identity import Identity
from broker.sources.gcp.settings import GcpSettings
from broker.sources.gcp.tokens import bearer, called
from broker.sources.gcp.transport import Request

_POLYNOMIAL: Final = 0x82F63B78
"""Castagnoli's, reflected (RFC 3720, B.4)."""


def access(identity: Identity, settings: GcpSettings, request: Request, now: float) -> Issued:
    """Read it. Raises `FetchError`, and `Refusal`."""
    project = settings.project or identity.project
    if project is None:
        raise PermanentFetchError(f"secret {settings.secret}: of which project? Set project of the credential")
    base = identity.api("secretmanager", settings.location)
    place = f"/locations/{settings.location}" if settings.location is not None else ""
    path = f"projects/{project}{place}/secrets/{settings.secret}/versions/{settings.version or 'latest'}"
    found = called(request, f"{base}/v1/{path}:access", "GET", None, bearer(identity, request))
    try:
        issued = answer.token(_text(_content(found, path), settings.field), now)
    except answer.BadAnswer as bad:
        raise PermanentFetchError(f"{path}: {bad}") from None
    version = str(found.get("name", "")).rpartition("/")[2]
    return Issued(issued.parts, issued.expires_at, details={"project_id": project, "version": version[:20]})


def _content(found: dict[str, Any], path: str) -> bytes:
    payload = found.get("payload")
    try:
        content = base64.b64decode(payload["data"], validate=True) if isinstance(payload, dict) else b""
        stated = int(payload.get("dataCrc32c", -1)) if isinstance(payload, dict) else -1
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise TransientFetchError(f"{path}: the answer is no secret of Secret Manager's") from None
    if stated not in {-1, crc32c(content)}:
        raise TransientFetchError(f"{path}: damaged on its way (its checksum is another)")
    return content


def _text(content: bytes, field: str | None) -> str:
    text = answer.decode(content)
    return text if field is None else answer.text_at(answer.json_object(text), field)


def crc32c(content: bytes) -> int:
    """Return the checksum that Google states beside a secret."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
