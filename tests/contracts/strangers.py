"""Files of somebody else, for whoever runs the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_STRANGER = 12345


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let `path` belong to another user than the present one; return that user's uid.

    Only root can give a file away; anybody else takes another identity, as far as the code under test can see.
    """
    if os.geteuid() == 0:
        os.chown(path, _STRANGER, -1)
        return _STRANGER
    monkeypatch.setattr(os, "geteuid", lambda: _STRANGER)
    return path.stat().st_uid
