"""Which port each face had that listens on "any free one": programs started before a restart go on finding it.

One small file in the state folder, without a secret; one that is lost or broken costs a new port.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

NAME: Final = "ports.json"
SIZE_MAX: Final = 4096
_PORT_MAX: Final = 65535


def read(folder: Path) -> dict[str, int]:
    """Return the ports by the face's name."""
    try:
        with os.fdopen(
            os.open(folder / NAME, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW), "rb"
        ) as file:
            found = json.loads(file.read(SIZE_MAX))
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(name): port for name, port in found.items() if _is_port(port)} if isinstance(found, dict) else {}


def write(folder: Path, ports: Mapping[str, int]) -> None:
    """Keep them, best effort: the daemon alone writes here, and holds the folder's lock."""
    new = folder / f"{NAME}.unfinished"
    with suppress(OSError):
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(dict(ports), file)
        new.rename(folder / NAME)


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _PORT_MAX
