"""What the readers' tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.errors import ConfigError
from broker.integrations.importing import READERS
from broker.integrations.importing.found import Found, Kept, Reading

PATH = Path("/home/me/theirs")


def read(tool: str, text: str) -> Reading:
    """Read a file's text."""
    return READERS[tool](text, PATH)


def problem(tool: str, text: str) -> str:
    """Read a file that is none; return why, without its name."""
    with pytest.raises(ConfigError) as caught:
        read(tool, text)
    return str(caught.value).removeprefix(str(PATH)).removeprefix(": ")


def only(reading: Reading) -> Found:
    """Return the one that was found."""
    (found,) = reading.found
    return found


def plain(value: Any) -> Any:  # noqa: ANN401  # texts, lists and tables
    """Show each secret as `<secret text>`, to compare."""
    if isinstance(value, Kept):
        return f"<{value.secret.reveal()}>"
    return {key: plain(inner) for key, inner in value.items()} if isinstance(value, dict) else value
