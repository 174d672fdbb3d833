"""A helper's ask has a way of its own through the daemon, which must differ from everybody else's in time only."""

from __future__ import annotations

import asyncio
import http.client
import io
import re
import time
from typing import Final
from urllib.parse import parse_qs, parse_qsl, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.endpoints.control.helper_asks import understand
from broker.errors import LoginRequired, TransientFetchError
from broker.model import Issued, Kind
from broker.secret import Secret
from tests.endpoints.conftest import Answer, Face, Scripted, parsed

HEAD: Final = b" HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n"
NUMBERS: Final = "ttl_ms=1000&deadline_ms=2000"
MORE: Final = b"Accept: */*\r\n"
"""A header that no helper sends makes it anybody's request."""

_OF_HTTP: Final = {"Date", "Server"}
_PARTS: Final = {"credential": "credential", "ttl_ms": "ttl", "deadline_ms": "deadline"}


def ask(target: str, told: bytes = b"") -> bytes:
    """Write what a helper does."""
    return b"GET " + target.encode() + HEAD + told + b"\r\n"


async def both(face: Face, target: str, told: bytes = b"") -> Answer:
    """Ask as a helper and as anybody; return the answer, which must be the same."""
    assert understand(ask(target, told)), "this would be anybody's request"
    quick, other = parsed(await face.raw(ask(target, told))), parsed(await face.raw(ask(target, MORE + told)))
    assert (quick.status, quick.body) == (other.status, other.body)
    assert dict(quick.headers) == {name: value for name, value in other.headers.items() if name not in _OF_HTTP}
    return quick


@pytest.mark.parametrize(
    "query", ["", "?", "?credential=work", "?ttl_ms=5", f"?{NUMBERS}", f"?credential=other&{NUMBERS}"]
)
async def test_a_token_is_the_same(face: Face, sources: dict[str, Scripted], query: str) -> None:
    """Of the default credential or a named one, with an end or without."""
    sources["other"].outcome = Issued.token("fake-token-2", time.time() + 600.5)
    answer = await both(face, f"/v1/token{query}")
    assert answer.body == (b"fake-token-2" if "other" in query else b"fake-token-1")


async def test_the_keys_of_a_session_are_the_same(face: Face, sources: dict[str, Scripted]) -> None:
    """`broker-helper --aws` is as quick."""
    parts = {name: Secret(f"fake-{name}") for name in ("access_key_id", "secret_access_key", "session_token")}
    sources["work"].outcome = Issued(parts, time.time() + 3600, Kind.AWS_SESSION)
    assert (await both(face, f"/v1/aws?credential=work&{NUMBERS}")).status == 200
    assert (await both(face, f"/v1/token?credential=work&{NUMBERS}")).status == 400
    assert (await both(face, f"/v1/aws?credential=other&{NUMBERS}")).status in {400, 403}


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (LoginRequired("run: broker login corp"), 401),
        (TransientFetchError("the server is down\n\x1b[31m"), 503),
        (RuntimeError("fake-token-9"), 503),
    ],
)
async def test_a_failing_source_is_told_the_same_way(
    face: Face, sources: dict[str, Scripted], outcome: Exception, status: int
) -> None:
    """Status, code and line: helpers and people read them."""
    sources["work"].outcome = outcome
    first = parsed(await face.raw(ask("/v1/token")))
    assert first.status == status
    assert (await both(face, "/v1/token")).status == status
    assert b"fake-token-9" not in first.body


@pytest.mark.parametrize(
    "told",
    [
        b"X-Broker-Cwd: relative\r\nX-Broker-Env: \r\n",
        b"X-Broker-Cwd: /a%zz\r\n",
        b"X-Broker-Env: ANTHROPIC_BASE_URL\r\n",
        b"X-Broker-Cwd: " + quote("/ä b").encode() + b"\r\nX-Broker-Env: CLAUDECODE=1&CLAUDECODE=2\r\n",
    ],
)
async def test_odd_surroundings_are_judged_alike(face: Face, told: bytes) -> None:
    """What a helper says of itself is read by the same reader."""
    await both(face, f"/v1/token?{NUMBERS}", told)


async def test_an_unknown_credential_a_lock_and_a_bug_are_told_alike(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that mends it; of a bug nothing but that there is one."""
    assert (await both(face, f"/v1/token?credential=wrok&{NUMBERS}")).status == 404
    await face.post("/v1/lock", {})
    assert (await both(face, "/v1/token")).status == 423

    async def broken(*_: object) -> None:
        raise ValueError("fake-token-9")

    monkeypatch.setattr(face.broker, "token", broken)
    told = await both(face, "/v1/token")
    assert told.status == 500
    assert b"fake-token-9" not in told.body


async def test_another_user_is_refused_here_too(foreign_face: Face) -> None:
    """Whichever way an ask takes, the kernel is asked first who makes it."""
    assert (await both(foreign_face, "/v1/token")).status == 403


async def test_a_slow_source_is_waited_for_until_the_deadline(face: Face, sources: dict[str, Scripted]) -> None:
    """The helper's own, in milliseconds."""
    sources["work"].gate.clear()
    assert (await both(face, "/v1/token?ttl_ms=0&deadline_ms=50")).status == 504


async def test_who_leaves_while_waiting_leaves_nothing_behind(face: Face, sources: dict[str, Scripted]) -> None:
    """A helper that is killed frees its place at once, and what it asked for is fetched for others."""
    sources["work"].gate.clear()
    _reader, writer = await face.connect()
    writer.write(ask("/v1/token"))
    while not sources["work"].fetches:
        await asyncio.sleep(0)
    writer.close()
    async with asyncio.timeout(5):
        while face.arrivals.connections:
            await asyncio.sleep(0.001)
    sources["work"].gate.set()
    assert (await both(face, "/v1/token")).body == b"fake-token-1"
    assert sources["work"].fetches == 1


async def test_more_than_one_ask_at_once_is_left_to_the_library(face: Face) -> None:
    """It refuses what comes after the request that was to be the last."""
    twice = ask("/v1/token") + ask("/v1/token")
    assert understand(twice) is None
    assert parsed(await face.raw(twice)).status == 400


async def test_what_comes_after_an_ask_is_not_read(face: Face, sources: dict[str, Scripted]) -> None:
    """It said that it would be the last."""
    sources["work"].gate.clear()
    reader, writer = await face.connect()
    writer.write(ask("/v1/token"))
    while not sources["work"].fetches:
        await asyncio.sleep(0)
    writer.write(b"POST /v1/lock HTTP/1.1\r\nHost: broker\r\nContent-Length: 2\r\n\r\n{}")
    await asyncio.sleep(0.01)
    sources["work"].gate.set()
    assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"\r\n\r\nfake-token-1")
    assert not face.broker.safe.locked
    writer.close()


def test_a_name_longer_than_helpers_take_is_left_to_the_library() -> None:
    """Which has limits for everything (helper/settings.c has this one)."""
    assert understand(ask("/v1/token?credential=" + "x" * 256))
    assert understand(ask("/v1/token?credential=" + "x" * 257)) is None


QUERIES: Final = st.lists(
    st.sampled_from(["?", "&", "=", "credential=work", "ttl_ms=5", "deadline_ms=7", "credential=", "ttl_ms"]),
    max_size=6,
).map("".join)


@given(QUERIES)
def test_a_query_is_understood_as_everybody_reads_it(query: str) -> None:
    """In whatever way its parts are put together."""
    found = understand(ask(f"/v1/token?{query}"))
    if found is not None:
        read = parse_qs(query)
        assert {name: [said] for name in _PARTS if (said := text(found, _PARTS[name])) is not None} == read


@given(st.binary(max_size=6), st.integers(0, 200), st.integers(0, 3))
def test_what_is_understood_reads_the_same_by_the_rules_of_http(inserted: bytes, at: int, cut: int) -> None:
    """Some bytes more or less anywhere: either it is still a helper's ask to every reader, or aiohttp judges it."""
    whole = ask(f"/v1/token?credential=work&{NUMBERS}", b"X-Broker-Cwd: /a\r\nX-Broker-Env: \r\n")
    found = understand(whole[:at] + inserted + whole[at + cut :])
    if found is None:
        return
    line, _, head = found[0].partition(b"\r\n")
    method, target, version = line.decode().split(" ")
    query = dict(parse_qsl(urlsplit(target).query))
    headers = dict(http.client.parse_headers(io.BytesIO(head)).items())
    assert (method, urlsplit(target).path, version) == ("GET", f"/v1/{found['what'].decode()}", "HTTP/1.1")
    assert [query.get(name) for name in _PARTS] == [text(found, part) for part in _PARTS.values()]
    assert headers.pop("Connection") == "close"
    assert headers.pop("Host")
    assert headers == {
        name: said
        for name, part in (("X-Broker-Cwd", "folder"), ("X-Broker-Env", "variables"))
        if (said := text(found, part)) is not None
    }


def text(found: re.Match[bytes], part: str) -> str | None:
    """Decode a part of an ask."""
    return None if found[part] is None else found[part].decode()
