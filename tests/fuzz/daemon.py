"""Fuzz target: the control socket of a real daemon."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import quote_from_bytes

from hypothesis import strategies as st

from tests.fuzz.damage import damaged
from tests.fuzz.target import Check, Target
from tests.real.installed import Daemon, Place, a_place, running
from tests.real.process import DEADLINE_S

PLANTED: Final = "fake-planted-secret-9c1e"
"""The token of a credential that the corpus never names: in the daemon's memory, and in no answer."""

HIDDEN: Final = "hidden-4b8d2f"
_CONFIG: Final = f"""
default = "work"
[credentials.work]
source = "command"
argv = ["/bin/echo", "fake-token-1"]
[credentials.{HIDDEN}]
source = "command"
argv = ["/bin/echo", "{PLANTED}"]
"""

_HOST: Final = b"Host: broker\r\nConnection: close\r\n"


def _get(target: bytes, headers: bytes = b"") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + _HOST + headers + b"\r\n"


def _post(target: bytes, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"POST " + target + b" HTTP/1.1\r\n" + _HOST + b"Content-Length: %d\r\n\r\n" % size + body


CORPUS: Final = (
    _get(b"/v1/token?credential=work&ttl_ms=300000&deadline_ms=9000"),
    _get(b"/v1/token", b"X-Broker-Cwd: /tmp/a%20b\r\nX-Broker-Env: ANTHROPIC_BASE_URL=http%3A//x&CLAUDECODE\r\n"),
    _get(b"/v1/token", b"X-Broker-Cwd: " + b"%FF" * 4096 + b"\r\nX-Broker-Env: " + b"%0A" * 5000 + b"\r\n"),
    _get(b"/v1/token?ttl_ms=" + b"9" * 40),
    _get(b"/v1/token?credential=%00%FF", b"Accept: application/json\r\n"),
    _get(b"/v1/credentials/work"),
    _get(b"/v1/credentials/..%2Fwork"),
    _get(b"/v1/status"),
    _get(b"/metrics"),
    _get(b"/healthz"),
    _get(b"/v1/events"),
    _post(b"/v1/refresh", b'{"credential": "work"}'),
    _post(b"/v1/rejected", b'{"credential": "work", "fingerprint": "0", "status": 429, "retry_after_s": 0}'),
    _post(b"/v1/rejected", b'{"credential": "work", "fingerprint": 1, "status": NaN}'),
    _post(b"/v1/refresh", b"{", length=9),
    _post(b"/v1/refresh", b"[" * 60_000),
    _post(b"/v1/unlock", b'{"passphrase": "fake-passphrase"}'),
    b"POST /v1/refresh HTTP/1.1\r\n" + _HOST + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"cre\r\n0\r\n\r\n',
    b"POST /v1/refresh HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"CONNECT api.anthropic.com:443 HTTP/1.1\r\n\r\n",
    b"GET http://elsewhere/v1/token HTTP/1.1\r\n" + _HOST + b"\r\n",
)

HTTP: Final = (
    *(b"\r\n\r\n", b"\r\n ", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"),
    *(b"HTTP/1.0", b"HTTP/9.9", b"Content-Encoding: gzip\r\n", b"X-Broker-Env: &&==&%\r\n", b"X-Broker-Cwd: x\r\n"),
)

_ENCODED: Final = st.text("azAZ09-._~/%&=+;?: ", max_size=30).map(str.encode) | st.binary(max_size=30).map(
    lambda value: quote_from_bytes(value).encode()
)
_BODIES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("work"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["credential", "fingerprint", "status", "retry_after_s", "passphrase", "x"]), inner
        )
    ),
    max_leaves=6,
).map(lambda value: json.dumps(value).encode())
WELL_FORMED: Final = st.builds(
    lambda name, value, folder, variables: _get(
        b"/v1/token?" + name + b"=" + value, b"X-Broker-Cwd: %s\r\nX-Broker-Env: %s\r\n" % (folder, variables)
    ),
    st.sampled_from([b"credential", b"ttl_ms", b"deadline_ms", b"x"]),
    _ENCODED.map(lambda value: value.replace(b" ", b"+")),
    _ENCODED,
    _ENCODED,
) | st.builds(_post, st.sampled_from([b"/v1/refresh", b"/v1/rejected", b"/v1/unlock"]), _BODIES)
"""Right as HTTP, so that what stands in it reaches what lies behind."""

_LEGAL: Final = re.compile(rb"(?:HTTP/[0-9]\.[0-9] (?:100|101|20[0-9]|4[0-9][0-9]|503|504) [^\r\n]*\r\n|\Z)")
"""A bug would answer 500; the end without an answer is the client's who said nothing whole."""


@contextmanager
def fuzzed() -> Iterator[Check]:
    """Run a daemon; in the end its log must be clean, and it must end as it should."""
    with a_place() as place:
        place.configure(_CONFIG)
        with running(place) as daemon:
            assert place.call("GET", f"/v1/token?credential={HIDDEN}") == (200, PLANTED.encode())
            answered: list[bool] = []
            yield lambda content: answered.append(try_one(daemon, content))
            assert sum(answered) > len(answered) / 5, "most inputs got no answer: there is nothing to look at"
            assert daemon.stop() == 0
        log = (place.folder / "daemon.stderr").read_text(errors="replace")
        assert PLANTED not in log
        assert "Traceback" not in log, log[-3000:]
        assert "a bug while" not in log, log[-3000:]


def try_one(daemon: Daemon, content: bytes) -> bool:
    """Send it; the next client must be served by the same process. Return whether there was an answer."""
    answer = exchange(daemon.place, content)
    assert PLANTED.encode() not in answer
    assert _LEGAL.match(answer), answer[:200]
    assert daemon.process.poll() is None, "the daemon is gone"
    return bool(answer)


def exchange(place: Place, content: bytes) -> bytes:
    """Send these bytes, and return what comes back until the daemon closes; fail where it does not."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE_S)
        connection.connect(str(place.socket))
        with suppress(ConnectionError):  # it may close before it has read all
            connection.sendall(content)
        # The daemon has one thread: once others were served meanwhile, it has done what these bytes ask for, nearly
        # always. What it has not done is given up by closing: half a request would wait for its other half.
        for _ in range(2):
            assert place.call("GET", "/healthz") == (200, b"ok\n")
        answer = _there(connection)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while more := connection.recv(65536):
                answer += more
        return answer


def _there(connection: socket.socket) -> bytes:
    answer = b""
    connection.settimeout(0)  # non-blocking
    with suppress(BlockingIOError, ConnectionError):
        while more := connection.recv(65536):
            answer += more
    connection.settimeout(DEADLINE_S)
    return answer


SOCKET: Final = Target(
    "socket",
    "an answer without a secret, no bug, no crash; the next client is served",
    CORPUS,
    damaged(CORPUS, HTTP) | WELL_FORMED,
    fuzzed,
    examples=2000,
    smoke=0,
)
