"""The `litellm` source, over a fake of LiteLLM's management of keys (tests/real/test_litellm.py has a real proxy)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.config import parse
from broker.durations import Duration
from broker.errors import ConfigError, FetchError, PermanentFetchError, TransientFetchError
from broker.model import Issued
from broker.secret import Secret
from broker.sources import TYPES
from broker.sources.interface import Returning
from broker.sources.litellm.settings import LiteLLMSettings, LiteLLMSourceSettings
from broker.sources.litellm.source import LiteLLMFetcher, LiteLLMSource
from broker.sources.references import Reference
from tests.contracts.source_contract import (
    AnySource,
    Harness,
    SourceThatFails,
    SourceThatWaits,
    eventually,
    failure,
    token_of,
)
from tests.fakes.context import FakeContext
from tests.fakes.json_server import Answer
from tests.fakes.litellm import MASTER_KEY, FakeLiteLLM, fake_litellm

OURS = Reference(local="litellm-master")


class Place:
    """A source at the fake proxy, and its fetchers."""

    def __init__(self, proxy: FakeLiteLLM, **settings: Any) -> None:  # noqa: ANN401  # any setting
        self.proxy = proxy
        self.context = FakeContext()
        self.context.secrets.records["litellm-master"] = Secret(MASTER_KEY)
        url = settings.pop("base_url", proxy.url)
        self.source = LiteLLMSource(LiteLLMSourceSettings(url, OURS, **settings), self.context)

    def fetcher(self, **settings: Any) -> LiteLLMFetcher:  # noqa: ANN401  # any setting
        """Bind what keys are made with."""
        made = self.source.fetcher(LiteLLMSettings(**settings), "work")
        assert isinstance(made, LiteLLMFetcher)
        return made


@pytest.fixture
def proxy() -> Iterator[FakeLiteLLM]:
    """Give a proxy without keys."""
    with fake_litellm() as proxy:
        yield proxy


@pytest.fixture
async def place(proxy: FakeLiteLLM) -> AsyncIterator[Place]:
    """Give a source at it."""
    place = Place(proxy)
    yield place
    proxy.gate.set()
    await place.source.close()


class _LiteLLMHarness(Harness):
    """Makes the proxy hang or fail."""

    def __init__(self, place: Place) -> None:
        self._proxy = place.proxy
        self._fetcher = place.fetcher()

    def fetcher(self) -> LiteLLMFetcher:
        return self._fetcher

    def hang(self) -> None:
        self._proxy.gate.clear()

    def release(self) -> None:
        self._proxy.gate.set()

    def fail(self, saying: str) -> None:
        self._proxy.scripted = [Answer(500, {"error": {"message": saying, "type": "internal_server_error"}})]


class TestLiteLLM(AnySource, SourceThatWaits, SourceThatFails):
    """It keeps what every source promises."""

    @pytest.fixture
    def harness(self, place: Place) -> Harness:
        return _LiteLLMHarness(place)


# --- making keys ------------------------------------------------------------------------------------------------


async def test_a_key_is_made_with_what_the_credential_says(place: Place) -> None:
    """Every wish goes to LiteLLM under its own name there."""
    fetcher = place.fetcher(
        duration=Duration(90),
        models=("claude-sonnet",),
        key_alias="laptop",
        max_budget=2.5,
        user_id="me",
        team_id="us",
        metadata={"cost": {"centre": 7}},
    )
    issued = await fetcher.fetch()
    (made,) = place.proxy.made
    alias = made.wish.pop("key_alias")
    assert made.wish == {
        "duration": "90s",
        "models": ["claude-sonnet"],
        "max_budget": 2.5,
        "user_id": "me",
        "team_id": "us",
        "metadata": {"cost": {"centre": 7}},
    }
    assert alias.startswith("laptop-")
    assert token_of(issued) == made.key
    assert issued.details == {"key_alias": alias}
    assert issued.expires_at is not None
    assert made.ends_at - 1 < issued.expires_at <= made.ends_at


async def test_no_key_is_ever_made_without_an_end(place: Place) -> None:
    """A crash between making and storing it leaves a key that dies by itself."""
    await place.fetcher().fetch()
    assert place.proxy.made[0].wish.keys() == {"duration", "key_alias"}
    assert place.proxy.made[0].wish["duration"] == "3600s"


async def test_no_two_keys_have_one_alias(place: Place) -> None:
    """LiteLLM refuses the second, so that no key could replace another."""
    fetcher = place.fetcher(key_alias="laptop")
    for _ in range(3):
        await fetcher.fetch()
    assert len({made.wish["key_alias"] for made in place.proxy.made}) == 3


@pytest.mark.parametrize("skew_s", [-7200.0, 7200.0])
async def test_a_server_whose_clock_is_wrong_does_not_shorten_or_lengthen_a_key(place: Place, skew_s: float) -> None:
    """Its life counts from when it was asked for, by our clock."""
    place.proxy.skew_s = skew_s
    issued = await place.fetcher(duration=Duration(60)).fetch()
    assert issued.expires_at == pytest.approx(time.time() + 60, abs=3)


async def test_a_server_that_makes_shorter_keys_is_believed(place: Place) -> None:
    """An administrator's limit holds, whatever was asked for; without a zone its time is UTC."""
    ended = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 60))
    place.proxy.scripted = [Answer(200, {"key": "sk-fake-key-short", "expires": ended})]
    issued = await place.fetcher(duration=Duration(3600)).fetch()
    assert issued.expires_at == pytest.approx(time.time() + 60, abs=3)


@pytest.mark.parametrize("expires", [None, "some day", 5, "0001-01-01T00:00:00Z"])
async def test_where_the_server_names_no_end_the_duration_is_it(place: Place, expires: object) -> None:
    """Nobody's silence makes a key live for ever."""
    place.proxy.scripted = [Answer(200, {"key": "sk-fake-key-1", "expires": expires})]
    issued = await place.fetcher(duration=Duration(60)).fetch()
    assert issued.expires_at == pytest.approx(time.time() + 60, abs=3)


# --- what goes wrong --------------------------------------------------------------------------------------------


def _refusal(status: int, message: object) -> Answer:
    return Answer(status, {"error": {"message": message, "type": "bad_request_error", "param": None, "code": "1"}})


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (_refusal(401, "Received API Key = sk-...ey-1"), PermanentFetchError, "the master key is refused (status 401)"),
        (_refusal(403, "Only proxy admin"), PermanentFetchError, "(Only proxy admin); `master_key`"),
        (_refusal(400, {"error": "max_budget is over max limit"}), PermanentFetchError, "max_budget is over max limit"),
        (_refusal(400, "No connected db."), PermanentFetchError, "has no database"),
        (
            Answer(422, {"detail": [{"loc": ["body", "models"], "msg": "no list"}]}),
            PermanentFetchError,
            "models: no list",
        ),
        (Answer(404, {"detail": "Not Found"}), PermanentFetchError, "no LiteLLM answers there (status 404)"),
        (Answer(302, headers={"Location": "https://login.example"}), PermanentFetchError, "no LiteLLM answers there"),
        (Answer(429), TransientFetchError, "asked too often"),
        (Answer(500, "Internal Server Error"), TransientFetchError, "without a database it makes no keys"),
        (Answer(502, "<html>"), TransientFetchError, "the server fails (status 502)"),
        (Answer(200, {"token": "x"}), TransientFetchError, "holds no key"),
        (Answer(200, "[" * 100_000), TransientFetchError, "holds no key"),
        (Answer(200, {"key": "with blanks"}), TransientFetchError, "the key in the answer has blanks"),
    ],
)
async def test_what_the_server_says_is_told_with_what_mends_it(
    place: Place, answer: Answer, error: type[FetchError], words: str
) -> None:
    """A person reads what to change; what may go away by itself is tried again."""
    place.proxy.scripted = [answer]
    found = await failure(place.fetcher())
    assert words in str(found)
    assert type(found) is error
    assert "ey-1" not in str(found)


async def test_a_busy_server_says_when_to_come_back(place: Place) -> None:
    """`Retry-After` reaches the engine."""
    place.proxy.scripted = [Answer(429, {}, {"Retry-After": "30"})]
    found = await failure(place.fetcher())
    assert isinstance(found, TransientFetchError)
    assert found.retry_after_s == 30


async def test_what_was_asked_for_may_be_quoted_and_nothing_else_that_is_no_word(place: Place) -> None:
    """The name of the model that is refused is what a person needs; a key of somebody's is not shown."""
    place.proxy.scripted = [_refusal(400, "model claude-9 is not for team t-1; 5 allowed; see fake-token-4")]
    found = await failure(place.fetcher(models=("claude-9",), team_id="t-1"))
    assert "model claude-9 is not for team t-1; 5 allowed; see ***; mend the credential" in str(found)


async def test_the_master_key_is_in_no_error(place: Place) -> None:
    """Also where the server says it back."""
    place.proxy.scripted = [_refusal(400, f"you sent {MASTER_KEY}")]
    assert MASTER_KEY not in str(await failure(place.fetcher()))


async def test_a_redirect_is_not_followed(place: Place) -> None:
    """Whoever answers in the proxy's place does not get the master key sent elsewhere."""
    place.proxy.scripted = [Answer(307, headers={"Location": f"{place.proxy.url}/elsewhere"})]
    await failure(place.fetcher())
    assert [asked.path for asked in place.proxy.asked] == ["/key/generate"]


async def test_a_server_that_is_not_there_is_told_with_where_to_look(proxy: FakeLiteLLM) -> None:
    """Address, network, or the server itself."""
    place = Place(proxy, base_url="http://127.0.0.1:1")
    found = await failure(place.fetcher())
    assert "nothing listens there (connection refused); check `base_url`" in str(found)


async def test_an_answer_that_takes_too_long_is_given_up(proxy: FakeLiteLLM) -> None:
    """After the source's own time-out."""
    place = Place(proxy, timeout=Duration(0.05))
    proxy.gate.clear()
    assert "no answer within 0.05 s" in str(await failure(place.fetcher()))
    proxy.gate.set()


async def test_a_new_master_key_is_noticed_where_the_old_one_was_refused(place: Place) -> None:
    """Storing the right one is all that a person does; keys that are good are not replaced for it."""
    fetcher = place.fetcher()
    await fetcher.fetch()
    place.context.secrets.records["litellm-master"] = Secret("sk-fake-other")
    assert not fetcher.changed()
    await failure(fetcher)
    place.context.secrets.records["litellm-master"] = Secret(MASTER_KEY)
    assert fetcher.changed()
    await fetcher.fetch()
    assert not fetcher.changed()


# --- deleting keys ----------------------------------------------------------------------------------------------


async def test_a_replaced_key_is_deleted_when_nobody_may_use_it_any_more(place: Place) -> None:
    """And not before: a session may hold it for its TTL."""
    fetcher = place.fetcher()
    assert isinstance(fetcher, Returning)
    old, new = await fetcher.fetch(), await fetcher.fetch()
    fetcher.superseded(old, 0.1)
    assert place.proxy.alive == [token_of(old), token_of(new)]
    await eventually(lambda: place.proxy.alive == [token_of(new)])


async def test_a_key_is_deleted_when_it_dies_if_not_before(place: Place) -> None:
    """LiteLLM would keep it in its list for ever; an earlier daemon may have promised it for nobody knows how long."""
    fetcher = place.fetcher()
    old = await fetcher.fetch()
    fetcher.superseded(Issued(old.parts, time.time() + 0.1), float("inf"))
    await eventually(lambda: place.proxy.made[0].deleted_at is not None)


async def test_at_the_end_every_replaced_key_is_deleted_at_once(place: Place) -> None:
    """Nobody would remember it; a session that still has it asks again and gets the live one."""
    fetcher = place.fetcher()
    keys = [await fetcher.fetch() for _ in range(3)]
    for old in keys[:2]:
        fetcher.superseded(old, 3600)
    await place.source.close()
    assert place.proxy.alive == [token_of(keys[2])]


async def test_a_server_that_cannot_delete_now_is_asked_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the key lives."""
    monkeypatch.setattr("broker.sources.litellm.leftovers._AGAIN_S", 0.05)
    fetcher = place.fetcher()
    old = await fetcher.fetch()
    place.proxy.scripted = [Answer(500), Answer(502)]
    fetcher.superseded(old, 0)
    await eventually(lambda: place.proxy.alive == [])
    assert [asked.path for asked in place.proxy.asked] == ["/key/generate", *["/key/delete"] * 3]


@pytest.mark.parametrize("answer", [Answer(401), Answer(404), Answer(400)])
async def test_a_refusal_to_delete_is_final(place: Place, monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    """The key dies by itself; nobody is asked for ever."""
    monkeypatch.setattr("broker.sources.litellm.leftovers._AGAIN_S", 0.0)
    fetcher = place.fetcher()
    old = await fetcher.fetch()
    place.proxy.scripted = [answer]
    fetcher.superseded(old, 0)
    await eventually(lambda: not place.source.leftovers._waiting)
    await place.source.close()
    assert len(place.proxy.asked) == 2


async def test_a_lost_master_key_deletes_nothing_and_fails_nothing(place: Place) -> None:
    """The key then lives as long as it was made for."""
    fetcher = place.fetcher()
    fetcher.superseded(await fetcher.fetch(), 3600)
    del place.context.secrets.records["litellm-master"]
    await place.source.close()
    assert len(place.proxy.alive) == 1


@pytest.mark.parametrize(
    "answer", [Answer(504, "<html>"), Answer(200, {"token": "x"}), Answer(200, {"key": "with blanks"})]
)
async def test_a_key_that_nobody_could_read_is_deleted_with_the_next_answer(place: Place, answer: Answer) -> None:
    """A gateway before the server gave up waiting, or spoilt the answer: each try would leave one more key behind."""
    fetcher = place.fetcher()
    place.proxy.scripted = [answer]
    await failure(fetcher)
    lost = place.proxy.asked[0].body["key_alias"]
    place.proxy.asked.clear()
    await fetcher.fetch()
    await eventually(lambda: len(place.proxy.asked) == 2)
    assert place.proxy.asked[1].body == {"key_aliases": [lost]}


async def test_a_key_whose_answer_was_lost_is_deleted_with_the_next_answer(place: Place) -> None:
    """It was made, but nobody has it: its alias is known all the same."""
    fetcher = place.fetcher()
    place.proxy.gate.clear()
    asking = asyncio.create_task(fetcher.fetch())
    await eventually(lambda: len(place.proxy.asked) == 1)
    asking.cancel()
    await asyncio.wait({asking})
    place.proxy.gate.set()
    await eventually(lambda: len(place.proxy.made) == 1)
    while True:  # the thread of the first may still be busy
        try:
            kept = await fetcher.fetch()
            break
        except TransientFetchError:
            await asyncio.sleep(0.01)
    await eventually(lambda: place.proxy.alive == [token_of(kept)])


# --- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_url": "http://litellm.example:4000"}, "base_url must be https"),
        ({"base_url": "litellm.example"}, "base_url must be a URL such as https://litellm.example:4000"),
        ({"base_url": "https://litellm.example/anthropic"}, "without /anthropic and the like"),
        ({"base_url": "https://litellm.example/vertex_ai/v1/"}, "without /anthropic and the like"),
        ({"base_url": "https://litellm.example/%2e"}, "base_url: expected"),
        ({"base_url": "https://litellm.example", "ca_cert": "ca.pem"}, "ca_cert must be an absolute path"),
    ],
)
def test_a_source_that_cannot_work_is_told_when_the_config_is_read(settings: dict[str, Any], words: str) -> None:
    """Not at the first prompt."""
    with pytest.raises(ValueError, match=words):
        LiteLLMSourceSettings(master_key=OURS, **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"duration": Duration(0.5)}, "whole seconds"),
        ({"duration": Duration(1.5)}, "whole seconds"),
        ({"key_alias": "../x"}, "key_alias must"),
        ({"max_budget": -1.0}, "max_budget must"),
        ({"max_budget": float("nan")}, "max_budget must"),
        ({"metadata": {"when": float("inf")}}, "metadata must"),
        ({"metadata": {"when": object()}}, "metadata must"),
    ],
)
def test_a_key_that_cannot_be_made_is_told_when_the_config_is_read(settings: dict[str, Any], words: str) -> None:
    """Not at the first prompt."""
    with pytest.raises(ValueError, match=words):
        LiteLLMSettings(**settings)


@pytest.mark.parametrize(
    ("keys", "audience"),
    [("", ("https://llm.example:4000",)), ('audience = ["https://front.example"]', ("https://front.example",))],
)
def test_a_key_is_meant_for_the_proxy_that_made_it(keys: str, audience: tuple[str, ...]) -> None:
    """Nowhere else is it any good, so the guard lets it go there without being told; what a person says holds."""
    text = f"""
[sources.proxy]
type = "litellm"
base_url = "https://llm.example:4000/"
master_key = {{ local = "litellm-master" }}
[credentials.work]
source = "proxy"
{keys}
"""
    assert parse(text, Path("/config.toml"), TYPES).credentials["work"].audience == audience


def test_a_master_key_in_the_config_itself_is_refused_unseen() -> None:
    """It belongs into the encrypted store, and the error says how it gets there."""
    text = f"""
[sources.proxy]
type = "litellm"
base_url = "https://llm.example:4000"
master_key = "{MASTER_KEY}"
[credentials.work]
source = "proxy"
"""
    with pytest.raises(ConfigError) as caught:
        parse(text, Path("/config.toml"), TYPES)
    assert "sources.proxy.master_key: a secret is never text in the config" in str(caught.value)
    assert MASTER_KEY not in str(caught.value)


async def test_it_is_opened_as_the_config_says(proxy: FakeLiteLLM) -> None:
    """By the type's own entry, library and all."""
    context = FakeContext()
    context.secrets.records["litellm-master"] = Secret(MASTER_KEY)
    source = TYPES["litellm"].open(LiteLLMSourceSettings(proxy.url, OURS), context)
    assert token_of(await source.fetcher(LiteLLMSettings(), "work").fetch()) == "sk-fake-key-1"
    await source.close()


def test_the_type_is_registered_and_loads_no_library() -> None:
    """A daemon that serves something else pays nothing for it."""
    assert "litellm" in TYPES
    code = "import sys, broker.sources; sys.exit('requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
