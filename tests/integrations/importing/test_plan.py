"""From what was found to our config and store: names, clashes, and that no secret is in the text."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.config import parse
from broker.errors import BadRequest, ConfigError
from broker.integrations.importing.found import Found, Kept, Reading, aws_keys, key
from broker.integrations.importing.plan import Plan, make
from broker.secret import Secret
from broker.sources import TYPES

SECRET = "fake-secret-1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a config that is not there yet."""
    return tmp_path / "config.toml"


def planned(path: Path, *found: Found, text: str = "", stored: tuple[str, ...] = (), **options: object) -> Plan:
    """Plan an import into a config of this text."""
    if text:
        path.write_text(text)
        path.chmod(0o600)
    return make(Reading(found), path, TYPES, stored, **options)  # type: ignore[arg-type]  # the tests' own options


def bedrock(name: str) -> Found:
    """One with keys of AWS's."""
    return Found(name, source={"type": "aws", **aws_keys("AKIAFAKEFAKEFAKE0001", SECRET)})


def test_secrets_go_into_the_store_and_their_places_into_the_config(path: Path) -> None:
    """The config is one that the daemon takes, and has none of them in it."""
    plan = planned(path, key("one", SECRET, "https://p.example"), bedrock("two"))
    assert {name: secret.reveal() for name, secret in plan.secrets.items()} == {
        "one": SECRET,
        "two-secret-access-key": SECRET,
    }
    config = parse(plan.after, path, TYPES, {})
    assert (config.default, list(config.credentials)) == ("one", ["one", "two"])
    assert config.credentials["one"].audience == ("https://p.example",)
    assert SECRET not in plan.after + repr(plan) + " ".join((*plan.says, *plan.remarks, *plan.notes))


def test_of_a_pool_one_command_is_told_and_not_one_of_each_member(path: Path) -> None:
    """Without one each key has its own."""
    keys = [key(name, SECRET, "https://p.example") for name in ("one", "two")]
    setup = "broker setup claude-code --credential {} --base-url https://p.example"
    assert planned(path, *keys).notes == (setup.format("one"), setup.format("two"))
    assert planned(path, *keys, pool="keys").notes == (setup.format("keys"),)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Claude proxy!", "Claude-proxy"),
        ("...", "imported"),
        ("官方", "imported"),
        ("a" * 60, "imported"),
        ("_x.y_", "x.y"),
        ("sk-ant-fake", "imported"),
    ],
)
def test_odd_names_are_mapped_and_told(path: Path, theirs: str, ours: str) -> None:
    """One that may be a key is not shown."""
    plan = planned(path, key(theirs, SECRET))
    assert list(plan.secrets) == [ours]
    assert f"becomes {ours}" in plan.says[0]
    assert "sk-ant" not in plan.says[0]


def test_names_that_become_the_same_are_numbered(path: Path) -> None:
    """None is lost."""
    plan = planned(path, key("a b", SECRET), key("a/b", SECRET), key("a-b", SECRET))
    assert list(plan.secrets) == ["a-b", "a-b-2", "a-b-3"]


def test_no_source_takes_the_name_of_a_type(path: Path) -> None:
    """Another credential's `source = "aws"` would mean it from then on."""
    plan = planned(path, bedrock("aws"), key("local", SECRET))
    assert list(plan.tables["sources"]) == ["aws-imported"]
    assert list(plan.tables["credentials"]) == ["aws-imported", "local"]


@pytest.mark.parametrize(
    ("text", "stored", "what"),
    [
        ('[credentials.one]\nsource = "demo"\n', (), "a credential"),
        ('[sources.one]\ntype = "demo"\n[credentials.x]\nsource = "demo"\n', (), "a source"),
        ("", ("one",), "a stored secret"),
    ],
)
def test_what_is_there_is_left_alone_unless_forced(path: Path, text: str, stored: tuple[str, ...], what: str) -> None:
    """And told."""
    plan = planned(path, key("one", SECRET), text=text, stored=stored)
    assert plan.changes_nothing
    assert plan.says == (f"one: {what} of that name is there already, and is left as it is (--force replaces)",)
    plan = planned(path, key("one", SECRET), text=text, stored=stored, force=True)
    assert parse(plan.after, path, TYPES, {}).credentials["one"].source == "local"
    assert f"in place of {what}" in plan.says[0]


def test_a_source_that_others_use_is_never_replaced(path: Path) -> None:
    """They would get other keys without a word."""
    text = '[sources.corp]\ntype = "aws"\nregion = "us-east-1"\n[credentials.x]\nsource = "corp"\n'
    plan = planned(path, bedrock("corp"), text=text, force=True)
    assert plan.changes_nothing
    assert plan.says == ("corp: a source of that name is there already, for x; left as it is",)


def test_a_persons_config_keeps_its_words_and_its_default(path: Path) -> None:
    """A credential that was the only one, and so the default, stays it."""
    text = '# mine\r\n[credentials.mine]   # and this\r\nsource = "demo"\r\n'
    plan = planned(path, key("one", SECRET), text=text)
    assert plan.after.startswith('default = "mine"\r\n\r\n' + text)
    assert "\n" not in plan.after.replace("\r\n", "")
    assert parse(plan.after, path, TYPES, {}).default == "mine"


def test_a_replaced_credential_leaves_the_rest_as_it_was(path: Path) -> None:
    """It gets its new content in its old place."""
    text = (
        '# mine\n[credentials.one]\nsource = "demo" # a\nlifetime = "1h"\n\n# yours\n[credentials.two]\nsource = "demo"\n'
        '[sources.three]\ntype = "aws"\nregion = "us-east-1"\n[credentials.three]\nsource = "three"\n'
    )
    plan = planned(path, key("one", SECRET, "https://p.example"), bedrock("three"), text=text, force=True)
    assert plan.after.replace("\n\n", "\n") == (
        '# mine\n[credentials.one]\nsource = "local" # a\naudience = ["https://p.example"]\n'
        '# yours\n[credentials.two]\nsource = "demo"\n[sources.three]\ntype = "aws"\n'
        'access_key_id = "AKIAFAKEFAKEFAKE0001"\nsecret_access_key = { local = "three-secret-access-key" }\n'
        '[credentials.three]\nsource = "three"\n'
    )


def test_a_pool_is_made_of_all_keys(path: Path) -> None:
    """Also of those that an earlier import brought; and it serves by default where nothing did."""
    plan = planned(path, key("a", SECRET), key("b", SECRET), bedrock("c"), pool="keys")
    assert plan.tables["sources"]["keys"] == {"type": "pool", "members": ["a", "b"], "strategy": "failover"}
    assert parse(plan.after, path, TYPES, {}).default == "keys"
    text = '[credentials.a]\nsource = "demo"\n'
    later = planned(path, key("a", SECRET), key("b", SECRET), text=text, pool="keys")
    assert later.tables["sources"]["keys"]["members"] == ["a", "b"]


@pytest.mark.parametrize(("pool", "why"), [("a b", "a name is letters"), ("a", "a is there already")])
def test_a_pool_needs_a_name_of_its_own(path: Path, pool: str, why: str) -> None:
    """Plainly."""
    with pytest.raises(BadRequest, match=why):
        planned(path, key("a", SECRET), pool=pool)


def test_a_pool_needs_a_key() -> None:
    """Sessions of AWS's are no members."""
    with pytest.raises(BadRequest, match="no key was found"):
        planned(Path("/nowhere/config.toml"), bedrock("a"), pool="keys")


def test_one_that_our_config_does_not_take_keeps_no_other_out(path: Path) -> None:
    """With the config's own reason, which quotes no value."""
    wrong = Found("bad", source={"type": "aws", "region": "fake region", "secret": Kept(Secret(SECRET), "s")})
    plan = planned(path, wrong, key("good", SECRET))
    assert list(plan.tables["credentials"]) == ["good"]
    assert plan.remarks[0].startswith("bad: sources.bad")
    assert "fake" not in plan.remarks[0]


def test_a_config_that_is_wrong_already_is_to_be_mended_first(path: Path) -> None:
    """Nothing is added to it."""
    with pytest.raises(ConfigError, match=r"credentials\.x\.source: no such source"):
        planned(path, key("one", SECRET), text='[credentials.x]\nsource = "demmo"\n')


def test_a_config_that_cannot_be_edited_safely_is_left_alone(path: Path) -> None:
    """The tables to add are told by --dry-run."""
    with pytest.raises(ConfigError, match="cannot be edited safely"):
        planned(path, key("one", SECRET), text='credentials = { x = { source = "demo" } }\n')


def test_names_with_dots_are_quoted(path: Path) -> None:
    """In TOML a dot has a meaning."""
    plan = planned(path, key("a.b", SECRET))
    assert list(parse(plan.after, path, TYPES, {}).credentials) == ["a.b"]
