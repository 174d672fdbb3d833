"""What an ask costs with a thousand credentials in the config and in use, against one."""

from __future__ import annotations

import statistics
import sys
from contextlib import ExitStack
from typing import Final

from tests.bench.figure import Figure, show
from tests.bench.load import Target, load_client
from tests.bench.place import daemon

MANY: Final = 1000
ROUNDS: Final = 9
REQUESTS: Final = 3000
_TOKEN: Final = "fake-token-1"


def figures() -> list[Figure]:
    """Ask a daemon with one credential, and one with a thousand for all of them in turn, one after the other."""
    with ExitStack() as stack:
        load = stack.enter_context(load_client())
        targets = [_target(stack, count) for count in (1, MANY)]
        for target in targets:
            load.seconds(target, MANY)  # fetches every credential
        rates = [[load.per_second(target, REQUESTS) for target in targets] for _ in range(ROUNDS)]
    one, many = (statistics.median(side) for side in zip(*rates, strict=True))
    detail = f"{one:.0f}/s against {many:.0f}/s"
    return [Figure(f"cost of an ask, {MANY} credentials / 1", one / many, 1.2, detail=detail)]


def _target(stack: ExitStack, count: int) -> Target:
    names = [f"work-{number}" for number in range(count)]
    place = stack.enter_context(daemon("".join(_credential(name) for name in names)))
    return Target(place.socket, [f"/v1/token?credential={name}" for name in names], _TOKEN)


def _credential(name: str) -> str:
    return f"""
[credentials.{name}]
source = "command"
argv = ["/bin/echo", "{_TOKEN}"]
"""


if __name__ == "__main__":
    sys.exit(show(figures()))
