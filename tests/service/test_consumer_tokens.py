"""What a consumer of a face shows: its own, for one credential, and still good after a restart."""

from __future__ import annotations

import pytest

from broker.service.consumer_tokens import ConsumerTokens
from tests.fakes.store import FakeStore


def test_a_token_opens_its_credential_and_no_other() -> None:
    """Nor the same credential at another face; and each consumer's is another one."""
    tokens = ConsumerTokens(FakeStore())
    first, second = (tokens.issue("aws", "work").reveal() for _ in range(2))
    assert first != second
    assert tokens.knows("aws", "work", first)
    assert tokens.knows("aws", "work", second)
    assert not tokens.knows("aws", "play", first)
    assert not tokens.knows("gcp", "work", first)


@pytest.mark.parametrize("change", [str.upper, lambda text: text[:-1], lambda text: text + "0", lambda _text: ""])
def test_anything_else_opens_nothing(change: object) -> None:
    """Cut off, longer, written otherwise, or not there."""
    tokens = ConsumerTokens(FakeStore())
    given = tokens.issue("aws", "work").reveal()
    assert callable(change)
    assert not tokens.knows("aws", "work", change(given))
    other = ("0" if given[0] != "0" else "1") + given[1:]
    assert not tokens.knows("aws", "work", other)


def test_it_is_good_as_long_as_the_key_at_rest() -> None:
    """Programs that were started before a restart go on; without such a key they are told that they will not."""
    store = FakeStore()
    given = ConsumerTokens(store).issue("aws", "work").reveal()
    assert ConsumerTokens(store).knows("aws", "work", given)
    assert ConsumerTokens(store).lasting
    assert not ConsumerTokens(FakeStore(persist="off")).lasting


def test_any_name_is_only_unknown() -> None:
    """A path may hold what is no text."""
    assert not ConsumerTokens(FakeStore()).knows("aws", "\udc80", "0" * 96)
