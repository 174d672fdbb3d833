"""The control socket's calls about what is kept: lock, unlock, stored secrets by name."""

from __future__ import annotations

import json
import os

import pytest

from broker.secret import Secret
from tests.endpoints.conftest import Face


async def test_locked_every_ask_is_answered_with_423_at_once(face: Face) -> None:
    """With the command that mends it; `broker unlock` does."""
    assert (await face.get("/v1/token")).status == 200
    answer = await face.post("/v1/lock", {})
    assert (answer.status, answer.json()) == (200, {"locked": True, "persist": "keyring"})
    for refused in (
        await face.get("/v1/token"),
        await face.get("/v1/credentials/work"),
        await face.post("/v1/refresh", {"credential": "work"}),
        await face.get("/v1/secrets"),
        await face.call("PUT", "/v1/secrets/work", b'{"value": "fake-token-9"}'),
    ):
        assert (refused.status, refused.headers["X-Broker-Error"]) == (423, "locked")
        assert b"broker unlock" in refused.body
    assert {found["state"] for found in (await face.get("/v1/status")).json()["credentials"]} == {"locked"}
    assert (await face.call("POST", "/v1/unlock", b"")).json() == {"locked": False, "persist": "keyring"}
    assert (await face.get("/v1/token")).body == b"fake-token-1"


@pytest.mark.parametrize("body", [{"passphrase": 1}, {"passphrase": ""}, {"passphrase": "x" * 1025}, {"word": "x"}])
async def test_a_malformed_unlock_is_a_bad_request_that_quotes_nothing(face: Face, body: dict[str, object]) -> None:
    """A passphrase in the wrong place is still one."""
    answer = await face.post("/v1/unlock", body)
    assert answer.status == 400
    assert b"xxx" not in answer.body


async def test_secrets_are_stored_named_and_deleted_and_never_shown(face: Face) -> None:
    """No call gives a value back."""
    answer = await face.call("PUT", "/v1/secrets/work", b'{"value": "fake-token-9"}')
    assert (answer.status, answer.json()) == (200, {"secret": "work"})
    assert (await face.get("/v1/secrets")).json() == {"secrets": ["work"]}
    assert (await face.get("/v1/secrets/work")).status == 405
    assert face.broker.secrets.get("work") == Secret("fake-token-9")
    for found in (True, False):
        answer = await face.call("DELETE", "/v1/secrets/work", b"")
        assert answer.json() == {"secret": "work", "deleted": found}


async def test_a_change_of_a_secret_is_told_with_the_process_behind_it(face: Face) -> None:
    """To who follows the events, and so to the audit trail."""
    with face.broker.bus.listen() as queue:
        await face.call("PUT", "/v1/secrets/work", b'{"value": "fake-token-9"}')
        await face.call("DELETE", "/v1/secrets/work", b"")
        told = [queue.get_nowait() for _ in range(queue.qsize())]
    assert [(event.name, event.reason) for event in told if event] == [
        ("secret-stored", "work"),
        ("secret-deleted", "work"),
    ]
    assert {event.who.pid for event in told if event and event.who} == {os.getpid()}


@pytest.mark.parametrize(
    ("name", "body"),
    [("work", {"value": 1}), ("work", {}), ("work", {"value": "two\nlines"}), ("a%20b", {"value": "fake-token-9"})],
)
async def test_what_cannot_be_stored_is_a_bad_request(face: Face, name: str, body: dict[str, object]) -> None:
    """And quotes nothing of it."""
    answer = await face.call("PUT", f"/v1/secrets/{name}", json.dumps(body).encode())
    assert (answer.status, answer.headers["X-Broker-Error"]) == (400, "bad-request")
    assert b"two" not in answer.body
    assert face.broker.secrets.names() == []
