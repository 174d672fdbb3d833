"""Each system runs the tests of its own module."""

from __future__ import annotations

import sys

collect_ignore = [] if sys.platform == "linux" else ["test_linux.py"]
