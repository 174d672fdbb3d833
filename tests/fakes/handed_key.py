"""A key for what is stored, as the service manager hands one over."""

from __future__ import annotations

import os
from pathlib import Path


def hand_key(folder: Path) -> dict[str, str]:
    """Put one into `credentials` below `folder`, once; give the variable that tells a daemon or command where."""
    credentials = folder / "credentials"
    if not credentials.exists():
        credentials.mkdir(mode=0o700)
        key = credentials / "broker-cache-key"
        key.write_bytes(os.urandom(32))
        key.chmod(0o400)
    return {"CREDENTIALS_DIRECTORY": str(credentials)}
