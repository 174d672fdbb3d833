"""What a pool takes in the config, by the real source types."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.config import Config, parse
from broker.errors import ConfigError
from broker.sources import TYPES
from broker.sources.interface import Pooling

PATH = Path("/config.toml")
TWO = '[credentials.a]\nsource = "local"\n[credentials.b]\nsource = "local"\n'


def read(text: str) -> Config:
    """Check a config."""
    return parse(text, PATH, TYPES, {})


def problems(text: str) -> list[str]:
    """Return what is wrong with it, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [problem.removeprefix(f"{PATH}: ") for problem in caught.value.problems]


def pool(members: str, more: str = "") -> str:
    """Write a pool and its credential."""
    return f'[sources.keys]\ntype = "pool"\nmembers = {members}\n{more}\n[credentials.work]\nsource = "keys"\n'


def test_members_and_strategy_stand_on_the_source() -> None:
    """And a credential says only that this is its source; without a strategy it is failover."""
    settings = read(TWO + pool('["b", "a"]')).sources["keys"].settings
    assert isinstance(settings, Pooling)
    assert (settings.members, settings.strategy) == (("b", "a"), "failover")


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ("[]", 'sources.keys: members must name at least one credential, such as ["a", "b"]'),
        ('["a", "a"]', "sources.keys: members names a twice"),
        ('["sk ant"]', "sources.keys: members must be names of credentials, never keys"),
        ('["a", "bb"]', "sources.keys.members: no such credential; did you mean 'b'?; known are a, b, work"),
    ],
)
def test_members_are_names_of_credentials_once_each(members: str, problem: str) -> None:
    """A key that stands there by mistake is not repeated; a near miss is told."""
    assert problems(TWO + pool(members)) == [problem]


def test_a_member_that_has_problems_of_its_own_is_not_called_missing() -> None:
    """It is there: what is wrong with it is all that is told."""
    found = problems(TWO + '[credentials.c]\nsource = "env"\n' + pool('["a", "c"]'))
    assert found == ["credentials.c.name: missing; expected text"]


def test_every_member_that_is_missing_is_told_at_once() -> None:
    """Not one a run."""
    found = problems(TWO + pool('["x1", "y2"]'))
    assert len([problem for problem in found if "no such credential" in problem]) == 2


def test_a_strategy_is_one_of_three() -> None:
    """With the near miss."""
    (problem,) = problems(TWO + pool('["a"]', 'strategy = "round_robin"'))
    assert problem.startswith("sources.keys.strategy: expected one of ")
    assert problem.endswith("did you mean 'round-robin'?")


def test_a_pool_in_a_pool_is_refused() -> None:
    """Its members can be named instead."""
    outer = '[sources.all]\ntype = "pool"\nmembers = ["work", "a"]\n[credentials.outer]\nsource = "all"\n'
    assert problems(TWO + pool('["a", "b"]') + outer) == [
        "sources.all.members: work is a pool itself; name its members instead"
    ]


def test_a_pool_that_comes_back_to_itself_is_refused() -> None:
    """Also by way of a reference."""
    assert any("in a circle" in problem for problem in problems(TWO + pool('["work"]')))
    lit = '[sources.lit]\ntype = "litellm"\nbase_url = "https://l.example"\nmaster_key = { credential = "work" }\n'
    found = problems(TWO + lit + '[credentials.c]\nsource = "lit"\nduration = "1h"\n' + pool('["a", "c"]'))
    assert any("work needs c needs work, in a circle" in problem for problem in found)


def test_members_are_single_tokens_of_one_kind() -> None:
    """Who asks must get the same sort of thing each time; an AWS session is several texts."""
    aws = '[sources.aws1]\ntype = "aws"\nregion = "us-east-1"\n[credentials.s]\nsource = "aws1"\n'
    bearer = '[credentials.k]\nsource = "aws1"\nkind = "bedrock-api-key"\n'
    found = problems(TWO + aws + bearer + pool('["a", "s", "k"]'))
    assert found == [
        "sources.keys.members: s is of kind aws-session, which is no single token; a pool is of single tokens",
        "sources.keys.members: k is of kind bedrock-api-key, and a of kind api-key; a pool is of one kind",
    ]
    assert read(aws + bearer + pool('["k"]')).credentials["work"].name == "work"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("work", "work is a pool, which no endpoint serves; name one of its members"),
        ("cloud", "cloud is of kind aws-session, which Google's clients cannot use"),
        ("key", "key is of kind bedrock-api-key, which Google's clients cannot use"),
    ],
)
def test_the_metadata_server_is_given_nothing_that_it_cannot_serve(name: str, said: str) -> None:
    """Else it would listen, and answer everybody with an error."""
    aws = '[credentials.cloud]\nsource = "aws"\n[credentials.key]\nsource = "aws"\nkind = "bedrock-api-key"\n'
    face = f'[endpoints.gcp]\nlisten = "127.0.0.1:0"\ncredential = "{name}"\n'
    assert problems(TWO + pool('["b", "a"]') + aws + face) == [f"endpoints.gcp.credential: {said}"]
