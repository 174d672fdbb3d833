"""All fuzz targets."""

from __future__ import annotations

from typing import Final

from tests.fuzz.audit import AUDIT
from tests.fuzz.cache import CACHE
from tests.fuzz.daemon import SOCKET
from tests.fuzz.editing import EDITING
from tests.fuzz.guard import ALLOWED, TOLD
from tests.fuzz.importing import IMPORT
from tests.fuzz.settings import SETTINGS_FILE
from tests.fuzz.target import Target
from tests.fuzz.texts import ANSWER, CONFIG

TARGETS: Final[tuple[Target, ...]] = (
    SOCKET,
    CONFIG,
    SETTINGS_FILE,
    TOLD,
    ALLOWED,
    EDITING,
    ANSWER,
    CACHE,
    AUDIT,
    IMPORT,
)
