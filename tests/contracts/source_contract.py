"""What every source promises, as test classes.

A source's own test file writes one `Harness` and picks the classes that apply:

    class TestVault(SourceOfValues, SourceThatWaits, SourceThatFails):
        @pytest.fixture
        def harness(self) -> Harness: ...

Everything here goes through `Fetcher` alone, so that it holds for sources that do not exist yet.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import pytest

from broker.errors import FetchError, TransientFetchError
from broker.model import TOKEN, Issued
from broker.secret import MAX_LENGTH, is_servable
from broker.sources.interface import Fetcher

VALUE = "fake-token-contract-1"
OTHER = "fake-token-contract-2"

PATIENCE_S = 30.0


class Harness(ABC):
    """Drives one source: what it yields next, and how it misbehaves.

    What a source cannot do stays as it is here; its tests do not pick the class that needs it.
    """

    @abstractmethod
    def fetcher(self) -> Fetcher:
        """Give the fetcher under test; it starts out in good health."""

    def give(self, text: str) -> None:
        """Let it hold `text` from now on."""
        raise NotImplementedError

    def remove(self) -> None:
        """Let it hold nothing."""
        raise NotImplementedError

    def hang(self) -> None:
        """Let it not answer, until `release`."""
        raise NotImplementedError

    def release(self) -> None:
        """Let it answer again."""
        raise NotImplementedError

    def fail(self, saying: str) -> None:
        """Let it fail in its own way, `saying` so where it can."""
        raise NotImplementedError


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; fail after some seconds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # another thread or process makes it true
            await asyncio.sleep(0.005)


async def failure(fetcher: Fetcher) -> FetchError:
    """Fetch, expecting one of the errors that a source may raise, and only those; check its form."""
    with pytest.raises(FetchError) as caught:
        await fetcher.fetch()
    message = str(caught.value)
    assert type(caught.value) is not FetchError, "it must say whether trying again makes sense"
    assert message.isprintable(), "one line, without control characters"
    assert 0 < len(message) < 600
    assert caught.value.__cause__ is None, "a foreign exception's text must not ride along"
    return caught.value


def token_of(issued: Issued) -> str:
    """Reveal the token."""
    return issued.parts[TOKEN].reveal()


def jwt(expires_at: float) -> str:
    """Make an unsigned JWT with this `exp`."""
    parts = ({"alg": "none"}, {"exp": expires_at})
    head, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return f"{head}.{body}.fake"


class AnySource:
    """What holds for all."""

    async def test_a_fetch_gives_a_credential_that_claude_code_takes(self, harness: Harness) -> None:
        """Every part is printable ASCII without blanks, and it is not dead on arrival."""
        issued = await harness.fetcher().fetch()
        assert issued.parts
        assert all(is_servable(part.reveal()) for part in issued.parts.values())
        assert issued.expires_at is None or issued.expires_at > time.time()

    async def test_a_credential_does_not_show_itself(self, harness: Harness) -> None:
        """Printing what a source gave, as a log would, shows no part of it."""
        issued = await harness.fetcher().fetch()
        assert not any(part.reveal() in repr(issued) for part in issued.parts.values())

    async def test_a_fetch_has_a_last_resort(self, harness: Harness) -> None:
        """No fetch may go on for ever, so each fetcher names its longest time."""
        assert 0 < harness.fetcher().timeout_s < 3600

    async def test_inputs_stay_the_same_while_nothing_happens(self, harness: Harness) -> None:
        """Looking for changes never invents one, and fetching is none."""
        fetcher = harness.fetcher()
        assert not fetcher.changed()
        await fetcher.fetch()
        assert not fetcher.changed()


class SourceOfValues(AnySource):
    """A source that holds a text which somebody else chose."""

    async def test_the_value_comes_back_as_it_is(self, harness: Harness) -> None:
        """What is stored is what is handed out, without an expiry that nobody stated."""
        harness.give(VALUE)
        issued = await harness.fetcher().fetch()
        assert (token_of(issued), issued.expires_at) == (VALUE, None)

    async def test_a_new_value_is_seen_by_the_next_fetch(self, harness: Harness) -> None:
        """A source caches nothing: that is the engine's work."""
        fetcher = harness.fetcher()
        harness.give(VALUE)
        await fetcher.fetch()
        harness.give(OTHER)
        assert token_of(await fetcher.fetch()) == OTHER

    async def test_the_longest_token_is_taken(self, harness: Harness) -> None:
        """16,384 characters are what Claude Code takes, and so do we."""
        harness.give("x" * MAX_LENGTH)
        assert len(token_of(await harness.fetcher().fetch())) == MAX_LENGTH

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param("fake-" + "x" * MAX_LENGTH, id="oversized"),
            pytest.param("fake-t\N{LATIN SMALL LETTER O WITH DIAERESIS}ken", id="non-ascii"),
            pytest.param("fake-token with a blank", id="blank"),
            pytest.param("fake-token\nfake-second-line", id="two-lines"),
            pytest.param("fake-token\x1b[31m", id="control"),
            pytest.param("fake-token\r\n\r\nX-Injected: 1", id="header-injection"),
        ],
    )
    async def test_a_value_that_claude_code_refuses_is_an_error_that_hides_it(
        self, harness: Harness, value: str
    ) -> None:
        """It fails here, where the reason can be told, and the reason quotes nothing of it."""
        harness.give(value)
        error = await failure(harness.fetcher())
        assert "fake-" not in str(error)

    async def test_an_empty_value_is_an_error(self, harness: Harness) -> None:
        """Nothing is not a token."""
        harness.give("")
        await failure(harness.fetcher())

    async def test_a_missing_value_is_an_error(self, harness: Harness) -> None:
        """Neither is what is not there."""
        harness.remove()
        await failure(harness.fetcher())

    async def test_it_works_again_once_the_value_is_mended(self, harness: Harness) -> None:
        """No failure leaves the fetcher unusable."""
        fetcher = harness.fetcher()
        harness.remove()
        await failure(fetcher)
        harness.give(VALUE)
        assert token_of(await fetcher.fetch()) == VALUE

    async def test_the_expiry_of_a_jwt_is_noticed(self, harness: Harness) -> None:
        """A JWT says itself when it dies."""
        expires_at = float(int(time.time()) + 600)
        harness.give(jwt(expires_at))
        assert (await harness.fetcher().fetch()).expires_at == expires_at

    async def test_a_dead_jwt_is_an_error(self, harness: Harness) -> None:
        """A token that is expired on arrival is never handed out."""
        token = jwt(int(time.time()) - 5)
        harness.give(token)
        error = await failure(harness.fetcher())
        assert "expired" in str(error)
        assert token not in str(error)


class SourceThatWaits:
    """A source that may take its time, or never answer."""

    async def test_a_slow_answer_is_waited_for(self, harness: Harness) -> None:
        """Slow is not wrong; and meanwhile the event loop goes on (it is what releases the source here)."""
        harness.hang()
        asking = await _asked(harness.fetcher())
        assert not asking.done()
        harness.release()
        assert (await asyncio.wait_for(asking, PATIENCE_S)).parts

    async def test_a_hanging_fetch_can_be_cancelled_at_once(self, harness: Harness) -> None:
        """The service's last resort works on every source."""
        harness.hang()
        asking = await _asked(harness.fetcher())
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asking, PATIENCE_S)
        harness.release()

    async def test_after_a_cancelled_fetch_the_next_one_answers_or_says_that_it_waits(self, harness: Harness) -> None:
        """A hung source neither hangs the next fetch without a word nor stays dead once it answers again."""
        harness.hang()
        fetcher = harness.fetcher()
        cancelled = await _asked(fetcher)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        again = await _asked(fetcher)
        harness.release()
        try:
            assert (await asyncio.wait_for(again, PATIENCE_S)).parts
        except TransientFetchError as error:
            assert "still waiting" in str(error)  # noqa: PT017  # either outcome is right
        assert (await _patiently(harness.fetcher())).parts


class SourceThatFails:
    """A source whose other side can fail."""

    async def test_a_failure_is_one_of_ours_and_hides_what_it_said(self, harness: Harness) -> None:
        """Whatever the other side quotes of the secret, nobody reads it in the error."""
        harness.fail(f"denied for {VALUE}")
        error = await failure(harness.fetcher())
        assert VALUE not in str(error)


async def _asked(fetcher: Fetcher) -> asyncio.Task[Issued]:
    """Start a fetch and let it get as far as it can by itself."""
    asking = asyncio.create_task(fetcher.fetch())
    for _ in range(5):
        await asyncio.sleep(0)
    return asking


async def _patiently(fetcher: Fetcher) -> Issued:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await fetcher.fetch()
            except TransientFetchError:
                await asyncio.sleep(0.01)
