"""Fuzzing on a scale of one's own: `python -m tests.fuzz [--examples N] [TARGET ...]`, and what was run.

Every target tries its corpus as it stands, then damaged inputs by hypothesis. Beside these, and not in this table:
what the helper is answered and what it tells (tests/helper/test_fuzz.py, tests/helper/test_surroundings.py, run on
the native helper, the same with sanitizers, and its twin), and histories of a credential's life
(tests/engine/test_histories.py).
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback

from tests.fuzz.target import Target, run
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Run the targets that are named, or all; print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--examples", type=int, help="for each target (default: as many as CI tries)")
    parser.add_argument("target", nargs="*", help=", ".join(target.name for target in TARGETS))
    asked = parser.parse_args()
    wanted = [target for target in TARGETS if target.name in asked.target or not asked.target]
    if len(wanted) < len(asked.target):
        parser.error(f"the targets are {', '.join(target.name for target in TARGETS)}")
    print(f"{'target':10}{'corpus':>8}{'examples':>10}{'seconds':>9}  promise")
    kept = [_told(target, asked.examples or target.examples) for target in wanted]
    return 0 if all(kept) else 1


def _told(target: Target, examples: int) -> bool:
    try:
        report = run(target, examples)
    except Exception:  # noqa: BLE001  # whatever a target let through is what we look for
        traceback.print_exc()
        print(f"{target.name:10} BROKEN: {target.promise}", flush=True)
        return False
    print(f"{target.name:10}{report.corpus:8}{report.examples:10}{report.took_s:9.1f}  {target.promise}", flush=True)
    return True


if __name__ == "__main__":
    for name in ("BROKER_CONFIG", "BROKER_STATE_DIR", "BROKER_SOCKET"):
        os.environ.pop(name, None)
    sys.exit(main())
