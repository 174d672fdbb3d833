"""`POST /v1/audit/verify`: the daemon proves its own trail."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
from aiohttp import web

from broker.endpoints.control import audit
from broker.errors import StorageError
from broker.service.events import Event
from broker.storage.audit import Verdict
from tests.endpoints.conftest import Face

VERDICT = Verdict(5, 4, ("audit.jsonl, line 3: number 3 was changed since it was written",), ("nobody knows",))


class Served:
    """The call, without a socket round it."""

    def __init__(self, answer: Future[Verdict]) -> None:
        self.app = web.Application()
        audit.add_route(self.app, lambda: answer)

    async def ask(self) -> web.StreamResponse:
        """Call it."""
        (resource,) = self.app.router.resources()
        (route,) = resource
        answer = await route.handler(None)  # type: ignore[arg-type]  # it looks at no request
        assert isinstance(answer, web.StreamResponse)
        return answer


async def test_the_verdict_is_json() -> None:
    """What was found, what is not proven, and whether all is well."""
    future: Future[Verdict] = Future()
    future.set_result(VERDICT)
    answer = await Served(future).ask()
    assert isinstance(answer, web.Response)
    assert answer.text == (
        '{"intact": false, "lines": 5, "proven": 4, "findings": '
        '["audit.jsonl, line 3: number 3 was changed since it was written"], "limits": ["nobody knows"]}'
    )


async def test_a_disk_that_hangs_is_an_error_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever asks next is not held up by who left."""
    monkeypatch.setattr(audit, "WITHIN_S", 0.01)
    future: Future[Verdict] = Future()
    with pytest.raises(StorageError, match="does not answer"):
        await Served(future).ask()
    assert future.cancelled()


async def test_a_trail_that_cannot_be_read_is_told_as_such() -> None:
    """The recorder's own words."""
    future: Future[Verdict] = Future()
    future.set_exception(StorageError("the audit trail cannot be read: Input/output error"))
    with pytest.raises(StorageError, match="Input/output"):
        await Served(future).ask()


async def test_who_asks_from_another_user_is_told_to_the_trail(foreign_face: Face) -> None:
    """Once for all its tries."""
    heard: list[str | None] = []
    foreign_face.broker.bus.attach(lambda event: heard.append(event.reason))
    assert (await foreign_face.get("/v1/status")).status == 403
    assert heard
    assert "is another user" in str(heard[0])


async def test_the_caller_of_rejected_is_named(face: Face) -> None:
    """By its pid and program."""
    heard: list[Event] = []
    face.broker.bus.attach(heard.append)
    fingerprint = (await face.get("/v1/token")).headers["X-Broker-Fingerprint"]
    await face.post("/v1/rejected", {"credential": "work", "fingerprint": fingerprint, "status": 401})
    rejected = next(event for event in heard if event.name == "rejected")
    assert rejected.who is not None
    assert rejected.who.pid > 0
    assert rejected.who.program
