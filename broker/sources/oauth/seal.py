"""The answer to a refresh, sealed for whoever has the key: a JWE (RFC 7516) with A256GCM."""

from __future__ import annotations

import json
from typing import Any, Final

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

_HEADER: Final = {"alg": "dir", "enc": "A256GCM"}


def new_key() -> str:
    """Make one."""
    key: str = OctKey.generate_key(256).as_dict()["k"]  # type: ignore[assignment]  # a text, in a key of this kind
    return key


def sealed(outcome: dict[str, Any], key: str) -> bytes:
    """Seal what the courier says."""
    return jwe.encrypt_compact(_HEADER, json.dumps(outcome), _key(key)).encode()


def opened(content: bytes, key: str) -> dict[str, Any] | None:
    """Open it; None where it is torn, or somebody else's."""
    try:
        plain = jwe.decrypt_compact(content, _key(key)).plaintext
        found = json.loads(plain or b"")
    except (JoseError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _key(key: str) -> OctKey:
    return OctKey.import_key({"kty": "oct", "k": key})
