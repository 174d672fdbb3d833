"""A real OpenBao that is paused: what callers wait who could be served from memory, against the same without the fault.

The key is old after a second, so that the daemon asks for another all the time, and gets no answer.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.bench.figure import Figure, show
from tests.bench.place import MissingProgram, daemon
from tests.real.company import ENVIRONMENT, KEPT, READ, company, configured
from tests.real.openbao import BAO
from tests.real.paused import BRIEF_S, waits

PAUSED_S: Final = 20.0
RATIO: Final = 1.5
_RESTLESS: Final = ('max_age = "1s"', 'refresh_interval_min = "1s"')


def figures(for_s: float = PAUSED_S) -> list[Figure]:
    """Ask for so long with the server there, and for so long with it paused."""
    if not BAO.exists():
        raise MissingProgram(f"{BAO} is missing: the `test` extra has it")
    with TemporaryDirectory(prefix="bench-") as folder, company(Path(folder)) as bao:
        bao.approle()
        bao.allow({"secret/data/claude": READ})
        bao.put("claude", key="fake-token-1")
        with daemon(configured(bao.address, *KEPT, *_RESTLESS), ENVIRONMENT) as place:
            before, paused = waits(bao, place, for_s)
    there_ms, gone_ms = (statistics.median(found) * 1000 for found in (before, paused))
    detail = f"{gone_ms:.2f} ms of {len(paused)} asked, and {there_ms:.2f} ms of {len(before)}"
    what = f"server paused for {for_s:g} s:"
    return [
        Figure(f"{what} median wait, of that before", gone_ms / there_ms, RATIO, detail=detail),
        Figure(f"{what} longest wait", max(paused) * 1000, 1000 * (BRIEF_S + 0.1), "ms", detail=_slow(paused, before)),
    ]


def _slow(paused: Sequence[float], before: Sequence[float]) -> str:
    late, late_before = (sum(wait > BRIEF_S / 2 for wait in found) for found in (paused, before))
    return f"{late} waited over {BRIEF_S / 2:g} s, {late_before} before; {max(before) * 1000:.0f} ms at most before"


if __name__ == "__main__":
    sys.exit(show(figures(float(sys.argv[1]) if len(sys.argv) > 1 else PAUSED_S)))
