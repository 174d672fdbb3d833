"""Which URLs lie within the audience that a config gives a credential."""

from __future__ import annotations

import pytest

from broker.audience import covers, default, problem
from broker.model import Kind

AWS = (Kind.AWS_SESSION, Kind.BEDROCK_API_KEY)
REGIONS = ("us-east-1", "ap-southeast-2", "mars-north-1")


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


def test_an_api_key_without_an_audience_is_anthropics() -> None:
    """And this default is one that a config could hold."""
    assert default(Kind.API_KEY) == ("https://api.anthropic.com",)
    assert all(problem(base) is None for base in default(Kind.API_KEY))


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        *((kind, f"https://bedrock-runtime.{region}.amazonaws.com") for kind in AWS for region in REGIONS),
        (Kind.AWS_SESSION, "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/model"),
        (Kind.AWS_SESSION, "https://Bedrock-Runtime.us-east-1.amazonaws.com:443"),
        (Kind.ACCESS_TOKEN, "https://us-east5-aiplatform.googleapis.com/v1"),
        (Kind.ACCESS_TOKEN, "https://aiplatform.googleapis.com/v1"),
        (Kind.ACCESS_TOKEN, "https://aiplatform.eu.rep.googleapis.com/v1"),
    ],
)
def test_a_clouds_credential_is_its_model_services_in_any_region(kind: Kind, url: str) -> None:
    """Bedrock's runtime for AWS's, Vertex for Google's: nobody has to list regions."""
    assert covers(default(kind), url)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(
    "url",
    [
        "http://bedrock-runtime.us-east-1.amazonaws.com",
        "https://bedrock-runtime.us-east-1.amazonaws.com:8443",
        "https://bedrock-runtime.us-east-1.amazonaws.com.evil.example",
        "https://bedrock-runtime.us.east.amazonaws.com",
        "https://bedrock-runtime..amazonaws.com",
        "https://bedrock-runtime.*.amazonaws.com",
        "https://bedrock-runtime.us-east-1.amazonaws.com/../x",
        "https://sts.us-east-1.amazonaws.com",
        "https://evil.example/-aiplatform.googleapis.com",
        "https://-aiplatform.googleapis.com",
        "https://a.b-aiplatform.googleapis.com",
        "https://storage.googleapis.com",
    ],
)
def test_and_nothing_that_only_looks_so(kind: Kind, url: str) -> None:
    """Another host, scheme or port, or a region that is more than a region's name."""
    assert not covers(default(kind), url)


def test_the_clouds_credentials_are_not_anthropics_nor_the_other_way_round() -> None:
    """And an ID token is for nobody until the config says for whom."""
    assert not any(covers(default(kind), "https://api.anthropic.com") for kind in Kind if kind is not Kind.API_KEY)
    assert not covers(default(Kind.API_KEY), "https://bedrock-runtime.us-east-1.amazonaws.com")
    assert default(Kind.ID_TOKEN) == ()


def test_a_star_within_a_name_is_no_persons_to_write() -> None:
    """What stands for any region in the defaults means nothing in a config: it is refused, and covers nothing."""
    assert problem("https://bedrock-runtime.*.evil.example") is not None
    assert not covers(("https://bedrock-runtime.*.evil.example",), "https://bedrock-runtime.x.evil.example")
