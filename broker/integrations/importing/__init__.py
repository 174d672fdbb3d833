"""What other tools keep in plain text, as credentials of ours: a file of theirs in, tables and secrets out.

Nothing here writes anything, and no text that it makes for people holds a value of the file that may be a secret: of
what is in a file only names are told, and what is plainly a place (a base URL, a region, a model).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from broker.integrations.importing import aws, dotenv, proxycast
from broker.integrations.importing.found import Reading

Read = Callable[[str, Path], Reading]

READERS: Final[dict[str, Read]] = {"proxycast": proxycast.read, "dotenv": dotenv.read, "aws": aws.read}
"""By the tool's name: from a file's text to what is in it. Each raises `ConfigError` for what is no such file."""
