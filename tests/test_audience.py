"""Which URLs lie within the audience that a config gives a credential."""

from __future__ import annotations

import pytest

from broker.audience import covers, default, problem
from broker.model import Kind


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://llm.example", "https://llm.example"),
        ("https://llm.example", "https://llm.example/"),
        ("https://llm.example:443", "https://llm.example"),
        ("http://llm.example", "http://llm.example:80/v1"),
        ("https://llm.example", "https://LLM.Example"),
        ("https://llm.example/anthropic", "https://llm.example/anthropic/v1"),
        ("https://llm.example/anthropic/", "https://llm.example/anthropic"),
        ("https://*.llm.example", "https://a.llm.example:443/x"),
        ("http://[::1]:8080", "http://[0:0::1]:8080"),
    ],
)
def test_a_url_within_the_audience_is_covered(base: str, url: str) -> None:
    """The same scheme, host and port, and the path goes on where the audience's ends."""
    assert covers(("https://other.example", base), url)


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://llm.example", "http://llm.example"),
        ("https://llm.example", "https://llm.example:4000"),
        ("https://llm.example", "https://llm.example.thief.example"),
        ("https://llm.example", "https://a.llm.example"),
        ("https://llm.example", "https://llm.example@thief.example"),
        ("https://llm.example", "https://thief.example\\@llm.example"),
        ("https://llm.example", "https://llm.example\n"),
        ("https://llm.example", "HTTPS://llm.example"),
        ("https://llm.example", "https://llm.example."),
        ("https://llm.example/anthropic", "https://llm.example"),
        ("https://llm.example/anthropic", "https://llm.example/anthropic2"),
        ("https://llm.example/anthropic", "https://llm.example/anthropic/../other"),
        ("https://llm.example/anthropic", "https://llm.example/anthropic/..;/other"),
        ("https://llm.example/anthropic", "https://llm.example/anthropic/%2e%2e/other"),
        ("https://llm.example/anthropic", "https://llm.example//thief.example"),
        ("https://*.llm.example", "https://llm.example"),
        ("https://*.llm.example", "https://a.b.llm.example"),
        ("https://*.llm.example", "https://*.llm.example"),
        ("http://127.0.0.1", "http://127.1"),
        ("http://127.0.0.1", "http://0x7f000001"),
        ("https://llm.example", ""),
    ],
)
def test_a_url_outside_the_audience_or_of_two_readings_is_not(base: str, url: str) -> None:
    """What is not plain lies within no audience, wherever this parser would think that it leads."""
    assert not covers((base,), url)


def test_nothing_lies_within_no_audience() -> None:
    """Empty means nobody, not everybody."""
    assert not covers((), "https://llm.example")


def test_a_credential_without_an_audience_has_its_kinds_own() -> None:
    """An API key is Anthropic's; every default is one that a config could hold."""
    assert default(Kind.API_KEY) == ("https://api.anthropic.com",)
    assert all(problem(base) is None for kind in Kind for base in default(kind))
