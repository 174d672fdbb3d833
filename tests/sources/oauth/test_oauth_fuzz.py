"""Whatever a provider says gives a token or an error of ours."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import FetchError, PermanentFetchError
from broker.sources.oauth import metadata
from broker.sources.oauth.answer import Answer
from broker.sources.oauth.settings import OAuthSettings, OAuthSourceSettings
from tests.contracts.source_contract import token_of

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = st.sampled_from(["access_token", "id_token", "token_type", "expires_in", "scope", "refresh_token"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_FIELDS, _JSON | st.text()), st.sampled_from(["access_token", "id_token"]))
def test_whatever_is_answered_gives_a_token_or_an_error_of_ours(fields: dict[str, Any], token: str) -> None:
    """And a token is always one that Claude Code takes, with an end that is ahead."""
    answer = Answer(fields, 1e9)
    try:
        issued = answer.issued(OAuthSettings(token=token), "https://login.example", {})  # type: ignore[arg-type]  # as sampled
    except FetchError as error:
        assert str(error).isprintable()  # noqa: PT017  # either outcome is right
    else:
        assert token_of(issued) == fields[token]
        assert issued.expires_at is None or issued.expires_at > 1e9
        assert all(text.isprintable() for text in issued.details.values())
    assert answer.refresh_token is None or answer.refresh_token.reveal() == fields["refresh_token"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_JSON)
def test_any_metadata_is_taken_or_refused(document: object) -> None:
    """As no metadata of this issuer."""
    settings = OAuthSourceSettings(flow="client-credentials", client_id="me", issuer="https://login.example")
    with pytest.raises(PermanentFetchError):
        metadata.read(document, settings)
    if isinstance(document, dict):
        found = metadata.read({**document, "issuer": "https://login.example"}, settings)
        assert not found.endpoints
