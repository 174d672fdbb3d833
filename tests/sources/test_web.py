"""HTTP as sources speak it: to the server that is meant and no other, with bounded answers (tests/real has more)."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from broker.clock import SystemClock
from broker.errors import TransientFetchError
from broker.secret import Secret
from broker.sources.blocking import Blocking
from broker.sources.web import transport
from broker.sources.web.calls import Calls, NotSent, Reply
from broker.sources.web.said import shown
from broker.sources.web.server import Server
from broker.sources.web.unreached import unreached
from tests.contracts.source_contract import eventually
from tests.fakes.json_server import Answer, Asked, JsonServer


@dataclass
class Echo(JsonServer):
    """Answers what it was asked. `answered_by`: a thread for each connection."""

    answered_by: list[threading.Thread] = field(default_factory=list)

    def answer(self, asked: Asked) -> Answer:
        """Say it back."""
        self.answered_by.append(threading.current_thread())
        return Answer(200, {"path": asked.path, "body": asked.body})


@dataclass(frozen=True)
class Tls:
    """A server with a certificate, and the file of who issued it."""

    server: Echo
    authority: Path


@pytest.fixture
def server() -> Iterator[Echo]:
    """Give one without TLS."""
    made = Echo()
    with made.serving():
        yield made


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[Tls]:
    """Give one with a certificate of a company's own authority."""
    authority, path = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    made = Echo()
    with made.serving(context):
        yield Tls(made, path)


async def post(server: Server) -> Reply:
    """Send something to it."""
    return await Calls(server).post(Blocking("test"), "/x", {"a": 1}, {"Authorization": Secret("fake-token-1")}, "try")


async def test_what_is_sent_arrives(server: Echo) -> None:
    """As JSON, with the headers in place, and the answer with the server's own time."""
    reply = await post(Server(server.url))
    assert reply.ok
    assert reply.fields == {"path": "/x", "body": {"a": 1}}
    assert reply.date is not None
    assert server.asked[0].headers["authorization"] == "fake-token-1"


async def test_a_companys_own_authority_is_trusted_where_the_config_says_so(tls: Tls) -> None:
    """And only there."""
    assert (await post(Server(tls.server.url, ca_cert=str(tls.authority)))).ok
    with pytest.raises(NotSent, match=r"its certificate is not to be trusted .*; set ca_cert"):
        await post(Server(tls.server.url))
    assert len(tls.server.asked) == 1


async def test_a_server_that_speaks_no_tls_is_told(server: Echo) -> None:
    """A slip in the address."""
    with pytest.raises(TransientFetchError, match=r"TLS fails .*; check `base_url` of the source"):
        await post(Server(server.url.replace("http:", "https:")))
    assert server.asked == []


def test_a_certificate_of_ours_that_may_be_refused_is_named() -> None:
    """Where there is one: an expired one ends the connection with hardly a reason."""
    server = Server("https://x.example", "token_url", client_cert="/c.pem", client_key="/k.pem")
    said = unreached(ssl.SSLError(), server)
    assert "check client_cert (expired, or of an authority" in said
    assert "`token_url` of the source" in said


async def test_what_did_not_leave_is_told_apart_from_what_may_have_arrived(server: Echo) -> None:
    """Who sends something that is good once can then send it again."""
    with pytest.raises(NotSent, match="connection refused"):
        await post(Server("http://127.0.0.1:1"))
    server.gate.clear()
    with pytest.raises(TransientFetchError, match="no answer within") as caught:
        await post(Server(server.url, timeout=0.05))
    assert not isinstance(caught.value, NotSent)


async def test_a_connection_from_before_a_night_asleep_is_not_used_again(
    server: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody told us that the server closed it: whoever asks first after waking would wait for nothing."""
    calls, thread = Calls(Server(server.url)), Blocking("test")
    for _ in range(2):
        await calls.post(thread, "/x", {}, {}, "try")
    monkeypatch.setattr(transport, "_now", lambda: SystemClock().now().mono + 8 * 3600)
    await calls.post(thread, "/x", {}, {}, "try")
    first, second, third = server.answered_by
    assert first is second
    assert third is not first


@pytest.mark.parametrize("there", [True, False], ids=["refuses", "gone"])
async def test_a_proxy_that_is_in_the_way_is_named(
    server: Echo, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    """And neither its password nor the server behind it, which was never reached."""
    place = server.url.removeprefix("http://") if there else "127.0.0.1:1"
    monkeypatch.setenv("https_proxy", f"http://me:fake-token-9@{place}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NotSent, match=r"the proxy of the environment \(HTTPS_PROXY\) cannot be reached") as caught:
        await post(Server("https://llm.example"))
    assert "fake-token-9" not in str(caught.value)


async def test_an_answer_of_any_size_is_not_read_to_its_end(server: Echo) -> None:
    """A server gone wrong does not fill the daemon's memory."""
    server.scripted = [Answer(200, "x" * (5 * 1024 * 1024))]
    with pytest.raises(TransientFetchError):
        await post(Server(server.url))


async def test_nor_is_one_that_leads_elsewhere(tls: Tls) -> None:
    """The library itself would read that one whole, before it asks whether to go there."""
    headers = {"Location": "https://elsewhere.example/", "Content-Length": str(1 << 40)}
    tls.server.scripted = [Answer(302, "x" * (5 * 1024 * 1024), headers)]
    with pytest.raises(TransientFetchError, match="more than 4 MiB"):
        await post(Server(tls.server.url, ca_cert=str(tls.authority), timeout=2))


async def test_an_answer_without_a_time_that_can_be_read_is_an_answer_all_the_same(server: Echo) -> None:
    """Then the server's clock is not known."""
    server.scripted = [Answer(200, {}, {"Date": "tomorrow"})]
    assert (await post(Server(server.url))).date is None


async def test_what_is_needed_can_be_loaded_ahead_of_time(server: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the first who asks does not wait for it; what is wrong with it is told by the call."""
    calls = Calls(Server(server.url))
    calls.warm()
    await eventually(lambda: calls._transport is not None)
    Calls(Server("https://127.0.0.1:1", ca_cert="/nowhere")).warm()

    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    calls.warm()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Team can only access models=['gpt-4', 'fake-token-9']", "Team can only access models=['***', '***']"),
        ("max_budget is over: user_value=5.5; max=2", "max_budget is over: user_value=5.5; max=2"),
        ("team t-1 has no model claude-9", "team t-1 has no model claude-9"),
        ("key 0123456789abcdef of sk-fake-1", "key *** of ***"),
        ("you sent fake secret", "you sent ***"),
        ("two\nlines\x1b[31m", "two lines"),
    ],
)
def test_of_what_a_server_says_only_words_and_what_is_known_are_shown(text: str, line: str) -> None:
    """It may quote any secret that it was configured with."""
    assert shown(text, [Secret("fake secret")], {"t-1", "claude-9"}) == line
