"""Where the real Claude Code sends a token, for every row of the table that the guard's rules are tested with.

The helper here is a script that prints a token whatever happens: the question is where it goes then. That the guard
keeps it is tested in test_guard.py.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests import setup_claude_code
from tests.engine.settled import settle
from tests.engine.steering import NAMED, TABLE, Row
from tests.real.claude import Claude
from tests.real.process import DEADLINE_S, wait_until
from tests.real.thief import Authority, Thief
from tests.real.upstream import serving
from tests.setup_claude_code import VERSIONS

pytestmark = [pytest.mark.real, pytest.mark.slow]

TOKEN: Final = "fake-token-1"
CASES: Final = [(row, version) for row in TABLE for version in row.versions]
AT_ONCE: Final = 3
"""Claude Codes that run at the same time: two processors, and each waits a little."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Who got the token."""

    good: bool
    thief: bool


Outcomes = Callable[[Row, str], Outcome]


@pytest.fixture(scope="module")
def outcomes(need: Callable[[bool, str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """Start every case at once, a few at a time, and give `outcomes(row, version)`, which waits for one."""
    for version in VERSIONS:
        need(setup_claude_code.binary(version).exists(), f"Claude Code {version} is missing")
    authority = Authority.for_host(NAMED, tmp_path_factory.mktemp("authority"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running: dict[tuple[str, str], Future[Outcome]] = {
            (row.name, version): pool.submit(_try, row, version, tmp_path_factory.mktemp("row"), authority)
            for row, version in CASES
        }
        yield lambda row, version: running[row.name, version].result(DEADLINE_S * 5)
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(("row", "version"), CASES, ids=[f"{row.name}-{version}" for row, version in CASES])
def test_the_table_tells_where_claude_code_sends_the_token(row: Row, version: str, outcomes: Outcomes) -> None:
    """The thief gets it exactly where the table says so, never where the guard allows, and then the good one does."""
    outcome = outcomes(row, version)
    assert outcome.thief == (version in row.stolen)
    assert not (outcome.thief and not row.refused)
    if not row.lost and not outcome.thief:
        assert outcome.good, "a way that steers nothing must not break Claude Code either"


def _try(row: Row, version: str, folder: Path, authority: Authority) -> Outcome:
    with serving() as good, Thief(TOKEN, authority).lurking() as thief:
        good.mint.mint()
        places = {
            "good": good.url,
            "good_port": good.url.rpartition(":")[2],
            "thief": thief.url,
            "thief_port": thief.url.rpartition(":")[2],
            "ca": authority.root,
        }
        settled = settle(row, folder, places, {"apiKeyHelper": f"echo {TOKEN}"})
        (folder / "home/.claude.json").write_text('{"hasCompletedOnboarding": true}')
        claude = Claude(setup_claude_code.binary(version), folder, _surroundings(folder) | settled.env)
        _run(claude, settled.folder, settled.arguments, thief.has_it)
        return Outcome(good=any(seen.key == TOKEN for seen in good.seen), thief=thief.has_it.is_set())


def _surroundings(folder: Path) -> dict[str, str]:
    return {
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        "HOME": str(folder / "home"),
        "IS_SANDBOX": "1",  # it refuses to skip its permission questions as root otherwise
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }


def _run(claude: Claude, folder: Path, arguments: list[str], stolen: threading.Event) -> None:
    """Let Claude Code answer one prompt; stop it as soon as the question is decided."""
    process = subprocess.Popen(
        claude.command("-p", "say pong", *arguments),
        env=dict(claude.env),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: stolen.is_set() or process.poll() is not None, "Claude Code is done", deadline_s=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
