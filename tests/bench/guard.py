"""What the audience guard adds to an ask of Claude Code's helper when nothing changed.

Measured by the processor time that it takes in this process: nothing on this way waits. The lookup of who asks and the guard run as in the daemon, on real processes: a stand-in for Claude Code (by its name),
its shell and a helper that waits, in a project with settings. Both sides in turns.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from broker import platform
from broker.clock import SystemClock
from broker.engine.policy import Told, steers, variables
from broker.model import Kind
from broker.service.ancestors import Ancestors
from broker.service.claude_settings import SettingsOnDisk
from broker.service.guard import Guard
from tests.bench.figure import Figure, show

LIMIT_US: Final = 100.0
ROUNDS: Final = 15
ASKS: Final = 500
_AUDIENCE: Final = ("http://127.0.0.1:1",)
_ENV: Final = {
    "ANTHROPIC_BASE_URL": _AUDIENCE[0],
    "PATH": "/usr/bin:/bin",
    **{f"OTHER_{n}": "x" * 40 for n in range(30)},
}

Ask = Callable[[], Awaitable[None]]


def figures() -> list[Figure]:
    """Measure the guard on top of the lookup."""
    return asyncio.run(_figures())


async def _figures() -> list[Figure]:
    with _project() as folder, _helper(folder) as pid:
        system = platform.current()
        guard = Guard(system, SettingsOnDisk(str(folder / "allowed.json")), SystemClock(), str(folder))
        ancestors = Ancestors(system)
        told = Told(
            str(folder), tuple((k, v) for k, v in (variables(system.environment(pid)) or {}).items() if steers(k))
        )

        async def without() -> None:
            with ancestors.of(pid) as lineage:
                assert lineage.claude is not None
                assert lineage.environment is not None  # the session inference reads it too
                assert lineage.same()

        async def with_guard() -> None:
            with ancestors.of(pid) as lineage:
                await guard.check(lineage, told, _AUDIENCE, Kind.API_KEY)
                assert lineage.same()

        rounds = [(await _microseconds(without), await _microseconds(with_guard)) for _ in range(1 + ROUNDS)]
    lookup, both = (statistics.median(side) for side in zip(*rounds[1:], strict=True))  # the first warms up
    detail = f"{both:.0f} us with the lookup of who asks, which takes {lookup:.0f} us"
    return [Figure("the audience guard, nothing changed", both - lookup, LIMIT_US, "us", detail=detail)]


async def _microseconds(ask: Ask) -> float:
    start = time.process_time()
    for _ in range(ASKS):
        await ask()
    return (time.process_time() - start) / ASKS * 1e6


@contextmanager
def _project() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="guard-")).resolve()
    try:
        (folder / ".git").mkdir()
        (folder / ".claude").mkdir()
        (folder / ".claude" / "settings.json").write_text('{"env": {"FOO": "1"}}')
        (folder / ".claude" / "settings.local.json").write_text('{"permissions": {}}')
        work = folder / "a" / "b"
        work.mkdir(parents=True)
        yield work
    finally:
        shutil.rmtree(folder)


@contextmanager
def _helper(folder: Path) -> Iterator[int]:
    """Run claude <- sh -c <- a helper that waits; give the helper's pid."""
    claude = folder.parent / "claude"
    claude.symlink_to("/bin/bash")  # a shell, by the name that matters
    script = folder.parent / "shell"
    script.write_text("/bin/dash -c 'echo $$; read line; exit'; exit\n")
    command = [str(claude), "-c", f"/bin/dash {script}; exit"]
    with subprocess.Popen(
        command, cwd=folder, env=_ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


if __name__ == "__main__":
    sys.exit(show(figures()))
