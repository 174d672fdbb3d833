"""How many random histories: a few at hand, thousands in CI."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

settings.register_profile(
    "plain", max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("plain"), max_examples=2000)

HISTORIES: Final = settings.get_profile("ci" if os.environ.get("CI") == "true" else "plain")
"""Given to the engine's own properties; other suites keep their defaults."""
