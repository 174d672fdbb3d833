"""What asking costs, against LiteLLM's own command line: `lite auth print-token`, made to be Claude Code's helper.

Both have their token at hand: ours in the daemon's memory, theirs in the file that `lite login` writes.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.bench.figure import Figure, show
from tests.bench.measure import Command, no_garbage_collection, warm_seconds
from tests.bench.place import MissingProgram, daemon
from tests.fakes.litellm import MASTER_KEY, fake_litellm
from tests.real.installed import HELPER
from tests.setup_tools import program

ROUNDS: Final = 3
THEIR_RUNS: Final = 3
TIMES: Final = 500.0
_CONFIG: Final = """
[sources.proxy]
type = "litellm"
base_url = "{url}"
master_key = {{ env = "FAKE_MASTER_KEY" }}
[credentials.work]
source = "proxy"
"""


def figures() -> list[Figure]:
    """Measure both in turns: theirs takes seconds, so that a few runs of it say enough."""
    with (
        fake_litellm() as proxy,
        daemon(_CONFIG.format(url=proxy.url), {"FAKE_MASTER_KEY": MASTER_KEY}) as place,
        _signed_in() as theirs,
    ):
        ours = Command([str(HELPER)], place.env)
        ours_s, theirs_s = [], []
        with no_garbage_collection():
            for _ in range(ROUNDS):
                ours_s.append(warm_seconds(1, ours=ours)["ours"])
                theirs_s.append(min(theirs.seconds() for _ in range(THEIR_RUNS)))
        assert len(proxy.made) == 1, "a warm daemon asks nobody"
    ours_ms, theirs_ms = (statistics.median(taken) * 1000 for taken in (ours_s, theirs_s))
    detail = f"{ours_ms:.2f} ms against {theirs_ms:.0f} ms, the best of {THEIR_RUNS} runs in {ROUNDS} rounds"
    return [Figure("lite auth print-token / our helper", theirs_ms / ours_ms, TIMES, at_least=True, detail=detail)]


@contextmanager
def _signed_in() -> Iterator[Command]:
    """Lay down what `lite login` leaves, and give the command that prints it."""
    lite = program("litellm").with_name("lite")
    if not lite.exists():
        raise MissingProgram(f"{lite} is missing: `python3 -m tests` installs it")
    with TemporaryDirectory(prefix="lite-") as home:
        token = Path(home) / ".litellm" / "token.json"
        token.parent.mkdir(mode=0o700)
        now = time.time()
        signed_in = {"base_url": "http://127.0.0.1:4000", "key": "sk-fake-lite-1", "timestamp": now}
        who = {"user_id": "me", "user_email": "me@example.com", "user_role": "internal_user", "jwt_token": ""}
        token.write_text(
            json.dumps(signed_in | who | {"auth_header_name": "Authorization", "expires_at": now + 36_000})
        )
        token.chmod(0o600)
        printed = Path(home) / "printed"
        command = Command([str(lite), "auth", "print-token"], {"HOME": home, "PATH": "/usr/bin:/bin"}, stdout=printed)
        command.seconds()  # its first run writes byte code
        assert printed.read_text().strip() == "sk-fake-lite-1", "it prints what it was given"
        yield command


if __name__ == "__main__":
    sys.exit(show(figures()))
