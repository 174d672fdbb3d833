"""How long the faces for AWS's and Google's libraries take to answer 50 programs at once, warm.

Each is a process of its own, since the daemon looks for whose it is, and asks on a new connection every half of a
second: together about 100 asks a second, more than 50 libraries would in an hour.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from tests.bench.figure import Figure, show
from tests.bench.place import daemon
from tests.real.installed import BROKER, Place
from tests.real.process import DEADLINE_S

CLIENTS: Final = 50
ASKS: Final = 20
WARMING: Final = 5
PAUSE_S: Final = 0.5
LIMIT_MS: Final = 5
_PERCENT: Final = 99

_TOKEN_PATH: Final = "/computeMetadata/v1/instance/service-accounts/default/token"  # a path
_KEYS: Final = {"Version": 1, "AccessKeyId": "FAKEID", "SecretAccessKey": "fake-secret-1", "SessionToken": "fake-1"}
_CLIENT: Final = """
import socket, sys, time
host, port, asks, pause, begin = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
request = sys.stdin.buffer.read()
time.sleep(begin)
for _ in range(asks):
    began = time.perf_counter()
    with socket.create_connection((host, port)) as asking:
        asking.sendall(request)
        answer = b""
        while piece := asking.recv(65536):
            answer += piece
    taken = time.perf_counter() - began
    assert answer.startswith(b"HTTP/1.1 200"), answer
    print(taken)
    time.sleep(max(0.0, pause - taken))
"""


def figures() -> list[Figure]:
    """Ask both."""
    with daemon(_config()) as place:
        google = _found(place, "google")["GCE_METADATA_HOST"]
        aws = _found(place, "aws")
        url = urlsplit(aws["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
        proof = {"Authorization": aws["AWS_CONTAINER_AUTHORIZATION_TOKEN"]}
        return [
            _figure("metadata endpoint", google, _TOKEN_PATH, {"Metadata-Flavor": "Google"}),
            _figure("AWS's container endpoint", url.netloc, url.path, proof),
        ]


def _figure(what: str, address: str, path: str, headers: dict[str, str]) -> Figure:
    lines = [f"GET {path} HTTP/1.1", f"Host: {address}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    taken_ms = sorted(1000 * taken for taken in _taken(address, "\r\n".join([*lines, "", ""]).encode()))
    worst = taken_ms[len(taken_ms) * _PERCENT // 100]
    detail = f"median {taken_ms[len(taken_ms) // 2]:.2f} ms, slowest {taken_ms[-1]:.1f} ms of {len(taken_ms)}"
    return Figure(f"{what}, {CLIENTS} clients: p{_PERCENT}", worst, LIMIT_MS, "ms", detail=detail)


def _taken(address: str, request: bytes) -> list[float]:
    """Run the clients; return what each ask took, in seconds, but for each one's first few."""
    host, port = address.rsplit(":", 1)
    chance = random.Random(1)  # so that they do not move as one
    clients = [_client(host, port, chance.uniform(0, PAUSE_S), request) for _ in range(CLIENTS)]
    said = [client.communicate(timeout=DEADLINE_S * 2)[0].split() for client in clients]
    if any(client.returncode for client in clients):
        raise AssertionError("a client was refused")
    return [float(taken) for taken_of_one in said for taken in taken_of_one[WARMING:]]


def _client(host: str, port: str, begin_s: float, request: bytes) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-I", "-S", "-c", _CLIENT, host, port, str(WARMING + ASKS), str(PAUSE_S), str(begin_s)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(request)
    process.stdin.close()
    process.stdin = None
    return process


def _found(place: Place, credential: str) -> dict[str, str]:
    env = place.env | {"HOME": str(place.folder)}
    told = subprocess.run([BROKER, "env", credential, "--json"], env=env, capture_output=True, check=True)
    variables: dict[str, str] = json.loads(told.stdout)["set"]
    return variables


def _config() -> str:
    ends = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return "\n".join(
        [
            '[endpoints.aws]\nlisten = "127.0.0.1:0"',
            '[endpoints.gcp]\nlisten = "127.0.0.1:0"\ncredential = "google"',
            _credential("aws", _KEYS | {"Expiration": ends}),
            _credential("google", {"access_token": "fake-token-1", "expires_in": 3600}),
        ]
    )


def _credential(name: str, answer: dict[str, object]) -> str:
    argv: Sequence[str] = ["/bin/echo", json.dumps(answer)]
    return f'[credentials.{name}]\nsource = "command"\nargv = {json.dumps(argv)}'


if __name__ == "__main__":
    sys.exit(show(figures()))
