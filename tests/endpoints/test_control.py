"""The control socket's calls, to the letter: others' programs rely on them."""

from __future__ import annotations

import asyncio
import time

import pytest

from broker.errors import LoginRequired, PermanentFetchError, TransientFetchError
from broker.model import Issued, Kind
from broker.secret import Secret
from tests.endpoints.conftest import Face, Scripted

STATUS_KEYS = {
    *("name", "source", "kind", "state", "refreshing", "expires_at", "expires_in_s", "lifetime_s", "fingerprint"),
    *("last_refresh_at", "next_refresh_at", "served", "refreshes", "failures", "rejections", "last_error"),
    *("warnings", "details"),
}


async def test_token_is_the_body_alone_and_its_facts_are_headers(face: Face, sources: dict[str, Scripted]) -> None:
    """`GET /v1/token` answers with the token, no newline; how long it lives is beside it."""
    sources["work"].outcome = Issued.token("fake-token-1", time.time() + 600)
    answer = await face.get("/v1/token?credential=work&ttl_ms=1000&deadline_ms=1000")
    assert (answer.status, answer.body) == (200, b"fake-token-1")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["X-Broker-Credential"] == "work"
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(answer.headers["X-Broker-Fingerprint"]) == 12
    assert 590 <= int(answer.headers["X-Broker-Expires-In"]) <= 600


async def test_static_key_has_no_expiry_header(face: Face) -> None:
    """A key without an end says nothing about one, and the default credential needs no name."""
    answer = await face.get("/v1/token")
    assert answer.body == b"fake-token-1"
    assert "X-Broker-Expires-In" not in answer.headers


@pytest.mark.parametrize(
    "query", ["ttl_ms=x", "ttl_ms=-1", "ttl_ms=1.5", "ttl_ms=", "deadline_ms=1e3", "ttl_ms=%C2%B2"]
)
async def test_malformed_query_is_a_bad_request(face: Face, query: str) -> None:
    """A TTL or deadline that is no whole number of milliseconds is answered with 400 and what was expected."""
    answer = await face.get(f"/v1/token?{query}")
    assert answer.status == 400
    assert answer.headers["X-Broker-Error"] == "bad-request"
    assert b"whole number" in answer.body


async def test_unknown_credential_names_the_near_miss(face: Face) -> None:
    """A typing error is told with the name that was probably meant."""
    answer = await face.get("/v1/token?credential=wrok")
    assert (answer.status, answer.headers["X-Broker-Error"]) == (404, "unknown-credential")
    assert b"did you mean work?" in answer.body


@pytest.mark.parametrize("name", ["\x1b[31m", "a\nb", "a\0b", "\ud800", "\u202egnp", "x" * 60_000])
async def test_a_hostile_name_is_told_in_one_short_printable_line(face: Face, name: str) -> None:
    """It ends up in a terminal, which takes orders in between; no name is too strange to be answered."""
    answer = await face.post("/v1/refresh", {"credential": name})
    assert (answer.status, answer.headers["X-Broker-Error"]) == (404, "unknown-credential")
    line = answer.body.decode().removesuffix("\n")
    assert line.isprintable()
    assert len(line) < 400


async def test_the_stream_of_events_has_no_head(face: Face) -> None:
    """Only who reads it may have it open."""
    assert (await face.call("HEAD", "/v1/events", b"")).status == 405


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (TransientFetchError("down"), 503, "source-failed"),
        (PermanentFetchError("no such entry"), 503, "source-failed"),
        (LoginRequired("run: broker login corp"), 401, "needs-login"),
    ],
)
async def test_failing_source_has_its_own_status_and_one_line(
    face: Face, sources: dict[str, Scripted], error: Exception, status: int, code: str
) -> None:
    """Why no token can be had is one plain line, its code in a header; JSON for who accepts JSON."""
    sources["work"].outcome = error
    answer = await face.get("/v1/token")
    assert (answer.status, answer.headers["X-Broker-Error"]) == (status, code)
    assert answer.body.decode().startswith(str(error))
    assert answer.body.count(b"\n") == 1
    as_json = (await face.get("/v1/token", Accept="application/json")).json()
    assert as_json["error"]["code"] == code


async def test_deadline_is_kept(face: Face, sources: dict[str, Scripted]) -> None:
    """A source that does not answer in time gives 504 at the deadline, not later."""
    sources["work"].gate.clear()
    started = time.monotonic()
    answer = await face.get("/v1/token?deadline_ms=100")
    assert (answer.status, answer.headers["X-Broker-Error"]) == (504, "deadline")
    assert 0.09 <= time.monotonic() - started < 2
    sources["work"].gate.set()


async def test_session_has_no_single_token(face: Face, sources: dict[str, Scripted]) -> None:
    """An AWS session is refused as a token, with the call that gives it; as a credential it has all its parts."""
    parts = {
        "access_key_id": Secret("FAKEID"),
        "secret_access_key": Secret("fake-secret"),
        "session_token": Secret("fake-session"),
    }
    sources["other"].outcome = Issued(parts, 4_000_000_000.0, Kind.AWS_SESSION, {"account_id": "000000000000"})
    refused = await face.get("/v1/token?credential=other")
    assert (refused.status, refused.headers["X-Broker-Error"]) == (400, "bad-request")
    body = (await face.get("/v1/credentials/other")).json()
    assert body.pop("issued_at").endswith("Z")
    assert body == {
        "credential": "other",
        "kind": "aws-session",
        "expires_at": "2096-10-02T07:06:40Z",
        "account_id": "000000000000",
        "access_key_id": "FAKEID",
        "secret_access_key": "fake-secret",
        "session_token": "fake-session",
    }


async def test_status_has_exactly_the_promised_keys_and_no_secret(face: Face) -> None:
    """Scripts rely on every key of `GET /v1/status`; none of its values is a secret."""
    await face.get("/v1/token")
    answer = await face.get("/v1/status")
    work, other = answer.json()["credentials"]
    assert set(work) == set(other) == STATUS_KEYS
    assert (work["state"], work["served"], work["refreshes"]) == ("fresh", 1, 1)
    assert (other["state"], other["fingerprint"]) == ("empty", None)
    assert b"fake-token" not in answer.body


async def test_refresh_fetches_once_and_tells_the_outcome(face: Face, sources: dict[str, Scripted]) -> None:
    """A forced refresh replaces the token; a second one right after is damped."""
    await face.get("/v1/token")
    sources["work"].outcome = Issued.token("fake-token-9")
    first = (await face.post("/v1/refresh", {"credential": "work"})).json()
    second = (await face.post("/v1/refresh", {})).json()
    assert (first["refreshes"], second["refreshes"]) == (2, 2)
    assert "damped_s" not in first
    assert 0 < second["damped_s"] <= 10
    assert (await face.get("/v1/token")).body == b"fake-token-9"


async def test_reported_refusal_replaces_the_token(face: Face, sources: dict[str, Scripted]) -> None:
    """Who says by fingerprint that upstream answered 401 gets another token with the next ask."""
    first = await face.get("/v1/token")
    sources["work"].outcome = Issued.token("fake-token-9")
    report = {"credential": "work", "fingerprint": first.headers["X-Broker-Fingerprint"], "status": 401}
    assert (await face.post("/v1/rejected", report)).json()["rejections"] == 1
    assert (await face.get("/v1/token")).body == b"fake-token-9"
    # The same report again is about a token that is gone.
    assert (await face.post("/v1/rejected", report)).json()["rejections"] == 1
    assert sources["work"].fetches == 2


async def test_reported_limit_keeps_the_token_and_warns(face: Face, sources: dict[str, Scripted]) -> None:
    """429 is no reason for another token."""
    first = await face.get("/v1/token")
    report = {"fingerprint": first.headers["X-Broker-Fingerprint"], "status": 429, "retry_after_s": 30}
    status = (await face.post("/v1/rejected", report)).json()
    assert [warning["code"] for warning in status["warnings"]] == ["rate-limited"]
    await face.get("/v1/token")
    assert sources["work"].fetches == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"credential": 1}',
        b'{"surprise": 1}',
        b'{"fingerprint": "x"}',
        b'{"fingerprint": "x", "status": 200}',
        b'{"fingerprint": "x", "status": 429, "retry_after_s": -1}',
        b'{"fingerprint": "x", "status": 429, "retry_after_s": true}',
        b"[" * 50_000,
        b"\xff\xfe",
    ],
)
async def test_malformed_report_is_a_bad_request(face: Face, body: bytes) -> None:
    """Whatever is sent, the answer is 400 and one line, and the daemon lives on."""
    answer = await face.call("POST", "/v1/rejected", body)
    assert answer.status == 400
    assert answer.body.count(b"\n") == 1
    assert (await face.get("/healthz")).status == 200


async def test_events_are_told_as_they_happen(face: Face) -> None:
    """A listener hears of the token being issued, by fingerprint, and the stream ends with the daemon."""
    reader, writer = await face.connect()
    writer.write(b"GET /v1/events HTTP/1.1\r\nHost: broker\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b": listening\n\n"), 5)
    await face.get("/v1/token")
    told = await asyncio.wait_for(reader.readuntil(b"\n\n"), 5)
    assert b"event: issued\n" in told
    assert b'"credential": "work"' in told
    assert b"fake-token" not in told
    face.broker.bus.close()
    await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def test_listener_that_leaves_is_forgotten(face: Face) -> None:
    """A closed event stream costs nothing any more, even when nothing happens."""
    reader, writer = await face.connect()
    writer.write(b"GET /v1/events HTTP/1.1\r\nHost: broker\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b": listening\n\n"), 5)
    writer.close()
    async with asyncio.timeout(5):
        while face.arrivals.connections:
            await asyncio.sleep(0.01)


async def test_metrics_are_prometheus_text(face: Face) -> None:
    """`GET /metrics` counts what was served, by credential, and names no secret."""
    await face.get("/v1/token")
    answer = await face.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert b'broker_credential_served_total{credential="work"} 1.0' in answer.body
    assert b'broker_credential_state{credential="work",state="fresh"} 1.0' in answer.body
    assert b"fake-token" not in answer.body


@pytest.mark.parametrize(("method", "target", "status"), [("GET", "/", 404), ("PUT", "/v1/token", 405)])
async def test_unknown_calls_are_refused_in_our_form(face: Face, method: str, target: str, status: int) -> None:
    """A call that does not exist keeps HTTP's status and has our error's form."""
    answer = await face.call(method, target, b"")
    assert (answer.status, answer.headers["X-Broker-Error"]) == (status, "bad-request")


async def test_bug_is_told_by_its_code_alone(face: Face, sources: dict[str, Scripted]) -> None:
    """An internal error shows neither its text nor a traceback: either may quote a secret."""
    sources["work"].outcome = Issued({"token": Secret("fake-\nsplit")})
    answer = await face.get("/v1/credentials/work?ttl_ms=0")
    assert answer.status == 200
    face.broker.clock = None  # type: ignore[assignment]  # a bug
    answer = await face.get("/v1/token")
    assert (answer.status, answer.headers["X-Broker-Error"]) == (500, "internal")
    assert b"NoneType" not in answer.body


async def test_other_users_are_refused(foreign_face: Face) -> None:
    """Another uid, root too, gets 403 from every call, even where it got past the socket's mode."""
    for target in ("/v1/token", "/v1/status", "/healthz", "/metrics", "/nothing"):
        answer = await foreign_face.get(target)
        assert (answer.status, answer.headers["X-Broker-Error"]) == (403, "refused")
