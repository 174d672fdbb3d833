"""How many asks a second the daemon answers, each on a new connection, against `bao proxy` read the same way."""

from __future__ import annotations

import statistics
import sys
from typing import Final

from tests.bench.figure import Figure, show
from tests.bench.load import CONNECTIONS, Target, load_client
from tests.bench.place import daemon
from tests.bench.proxy import bao_proxy

ROUNDS: Final = 7
REQUESTS: Final = 4000
_TOKEN: Final = "fake-token-1"
_CONFIG: Final = f"""
[credentials.work]
source = "command"
argv = ["/bin/echo", "{_TOKEN}"]
"""


def figures() -> list[Figure]:
    """Load the daemon and the proxy, read in both ways, in turns."""
    with load_client() as load, daemon(_CONFIG) as place, bao_proxy(place.folder, load) as bao:
        ours = Target(place.socket, ["/v1/token?credential=work"], _TOKEN)
        targets = (ours, bao.forwarded, bao.cached)
        rounds = [[load.per_second(target, REQUESTS) for target in targets] for _ in range(1 + ROUNDS)]
    broker, forwarded, cached = (
        statistics.median(side) for side in zip(*rounds[1:], strict=True)
    )  # the first warms up
    return [
        _figure("asks per second, daemon / bao proxy, plain key", broker, forwarded),
        _figure("asks per second, daemon / bao proxy, leased key (cache hits)", broker, cached),
    ]


def _figure(what: str, broker: float, bao: float) -> Figure:
    detail = f"{broker:.0f}/s against {bao:.0f}/s, {CONNECTIONS} at a time"
    return Figure(what, broker / bao, 2, at_least=True, detail=detail)


if __name__ == "__main__":
    sys.exit(show(figures()))
