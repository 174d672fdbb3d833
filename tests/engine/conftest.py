"""How many random histories: a few at hand, thousands in CI."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

HISTORIES: Final = settings(
    max_examples=2000 if os.environ.get("CI") == "true" else 200,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
"""Given to the engine's own properties; other suites keep their defaults."""
