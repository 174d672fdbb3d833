"""The control socket's calls about a person's sign-in."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace

import pytest

from broker.errors import LoginPending
from broker.sign_in import Invitation, Page, SignIn
from broker.sources.interface import Fetcher
from tests.endpoints.conftest import Face

WAYS = SignIn(Page(path="/oauth/callback"), device=True)
BACK = "http://localhost:8250/oidc/callback"


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("login", {}),
        ("login", {"redirect_uri": BACK}),
        ("login", {"source": "work", "redirect_uri": None}),
        ("login/wait", {"source": "work"}),
        ("login/wait", {"source": "work", "state": "xxx", "code": "xxx"}),
        ("login", {"source": 1, "redirect_uri": BACK}),
        ("login", {"source": "work", "redirect_uri": "https://evil.example/"}),
        ("login", {"source": "work", "redirect_uri": "http://localhost:8250@evil.example/"}),
        ("login", {"source": "work", "redirect_uri": "http://localhost.evil.example:8250/"}),
        ("login", {"source": "work", "redirect_uri": BACK + "?x"}),
        ("login", {"source": "work", "redirect_uri": BACK, "more": 1}),
        ("login/finish", {"source": "work", "state": "fake-state"}),
        ("login/finish", {"source": "work", "state": "fake-state", "code": "xxx\n"}),
        ("login/finish", {"source": "work", "state": "fake-state", "code": "x" * 20_000}),
        ("login/finish", {"source": "work", "state": "\u00e4", "code": "xxx"}),
        ("logout", {"source": ""}),
        ("logout", []),
    ],
)
async def test_a_malformed_call_is_a_bad_request_that_quotes_nothing(face: Face, call: str, body: object) -> None:
    """A code is a secret; and the answer is to come back to this machine alone."""
    answer = await face.post(f"/v1/{call}", body)
    assert (answer.status, answer.headers["X-Broker-Error"]) == (400, "bad-request")
    assert b"xxx" not in answer.body
    assert b"nobody signs in" not in answer.body


@pytest.mark.parametrize(
    ("call", "more"),
    [
        ("login", {"redirect_uri": BACK}),
        ("login", {}),
        ("login/wait", {"state": "fake-state"}),
        ("login/finish", {"state": "fake-state", "code": "fake-code"}),
        ("logout", {}),
    ],
)
async def test_each_call_reaches_its_source(face: Face, call: str, more: dict[str, str]) -> None:
    """One without sign-in says so, one that is not there too."""
    plain = await face.post(f"/v1/{call}", {"source": "work", **more})
    assert plain.status == 400
    assert b"nobody signs in to source work by hand" in plain.body
    absent = await face.post(f"/v1/{call}", {"source": "absent", **more})
    assert (absent.status, absent.headers["X-Broker-Error"]) == (404, "unknown-credential")


async def test_strangers_sign_nobody_in(foreign_face: Face) -> None:
    """Nor out."""
    for call in ("login", "login/wait", "login/finish", "logout"):
        assert (await foreign_face.post(f"/v1/{call}", {"source": "work"})).status == 403


# --- a source that has a sign-in --------------------------------------------------------------------------------


@dataclass
class Portal:
    """A source that a person signs in to; `confirmed` by them, or not yet."""

    confirmed: bool = False
    asked: int = 0
    sign_in: SignIn | None = WAYS

    async def begin_login(self, redirect_uri: str | None) -> Invitation:
        if redirect_uri is not None:
            return Invitation(f"https://login.example/?back={redirect_uri}", "fake-state")
        return Invitation("https://login.example/", "fake-state", 60.0, "FAKE-CODE", "https://login.example/?FAKE", 1.0)

    async def finish_login(self, _state: str, code: str | None) -> bool:
        self.asked += 1
        if code is None and not self.confirmed:
            raise LoginPending
        return True

    async def logout(self) -> bool:
        return True

    def fetcher(self, _settings: object, _credential: str) -> Fetcher:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing was borrowed."""


@pytest.fixture
def portal(face: Face) -> Portal:
    """Have the source `work` be one."""
    made = Portal()
    opened = face.broker._entries.sources["work"]
    face.broker._entries.sources["work"] = replace(opened, source=made)
    return made


@pytest.mark.usefixtures("portal")
async def test_the_sources_that_a_person_signs_in_to_are_listed(face: Face) -> None:
    """With the ways there are; the others are not."""
    page = {"host": "127.0.0.1", "port": 0, "path": "/oauth/callback"}
    listed = (await face.get("/v1/logins")).json()
    assert listed == {"sources": [{"name": "work", "type": "work", "page": page, "device": True}]}


@pytest.mark.usefixtures("portal")
async def test_a_sign_in_by_browser_takes_two_calls(face: Face) -> None:
    """What is told is nobody else's business: it is not to be kept."""
    begun = await face.post("/v1/login", {"source": "work", "redirect_uri": BACK})
    told = begun.json()
    assert (told["url"], told["joined"]) == (f"https://login.example/?back={BACK}", False)
    assert "user_code" not in told
    assert begun.headers["Cache-Control"] == "no-store"
    finished = await face.post("/v1/login/finish", {"source": "work", "state": told["state"], "code": "fake-code"})
    assert finished.json() == {"kept": True}


@pytest.mark.slow
async def test_a_device_code_is_waited_for_until_it_is_confirmed(face: Face, portal: Portal) -> None:
    """The answer comes as soon as the provider knows."""
    told = (await face.post("/v1/login", {"source": "work"})).json()
    assert (told["user_code"], told["complete_url"]) == ("FAKE-CODE", "https://login.example/?FAKE")
    assert (told["expires_in_s"], told["interval_s"]) == (60.0, 1.0)
    portal.confirmed = True
    assert (await face.post("/v1/login/wait", {"source": "work", "state": told["state"]})).json() == {"kept": True}
    other = await face.post("/v1/login/wait", {"source": "work", "state": "other"})
    assert (other.status, other.headers["X-Broker-Error"]) == (401, "needs-login")


@pytest.mark.slow
async def test_who_hangs_up_ends_the_asking(face: Face, portal: Portal) -> None:
    """Ctrl-C: the provider is not asked for a code that nobody waits for."""
    told = (await face.post("/v1/login", {"source": "work"})).json()
    body = json.dumps({"source": "work", "state": told["state"]}).encode()
    _, writer = await face.connect()
    head = f"POST /v1/login/wait HTTP/1.1\r\nHost: broker\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    async with asyncio.timeout(10):
        while not portal.asked:
            await asyncio.sleep(0.01)
    writer.close()
    one = face.broker.logins._under_way["work"].way
    async with asyncio.timeout(10):
        while one._asking is not None:
            await asyncio.sleep(0.01)
    assert portal.asked <= 2
