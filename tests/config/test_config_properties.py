"""Whatever stands in a config, a `Config` or a `ConfigError` comes out, and no value is ever repeated."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.config import parse, read
from broker.errors import ConfigError
from broker.sources import TYPES

PATH = Path("/fake/config.toml")

KEYS = st.sampled_from(
    [
        *("default", "sources", "credentials", "daemon", "endpoints", "one", "two", "type", "source", "argv", "env"),
        *("format", "token_field", "timeout", "path", "field", "shared", "name", "service", "username", "lifetime"),
        *("delay", "failure_rate", "audience", "min_validity", "max_age", "idle_after", "persist", "log_level"),
        *("infer_rejection", "ttl_max", "token", "api_key"),
    ]
) | st.text(max_size=5)

MARKED = st.text(max_size=20).map(lambda text: f"<{text}fake-secret>")
WORDS = st.sampled_from(
    ["keyring", "env", "file", "command", "demo", "one", "auto", "json", "90s", "off", "vault", "sh"]
)

SCALARS = (
    MARKED
    | WORDS
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.datetimes()
    | st.just(dt.date(2026, 1, 1))
    | st.just(dt.time(1, 2))
)

VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)

NAMED = st.dictionaries(
    st.sampled_from(["one", "two", "keyring"]) | KEYS, st.dictionaries(KEYS, SCALARS, max_size=6), max_size=3
)

CONFIGS = st.fixed_dictionaries(
    {}, optional={"sources": NAMED, "credentials": NAMED, "daemon": st.dictionaries(KEYS, SCALARS), "default": SCALARS}
) | st.dictionaries(KEYS, VALUES, max_size=5)


def toml(value: object) -> str:
    """Write a value as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return repr(value)


def document(config: dict[str, object]) -> str:
    """Write a whole config."""
    return "\n".join(f"{toml(key)} = {toml(value)}" for key, value in config.items())


def check(error: ConfigError) -> None:
    """Every error is lines that can be shown to anybody."""
    assert error.problems
    assert all(problem.isprintable() for problem in error.problems)
    assert "fake-secret" not in str(error)


@given(CONFIGS)
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_any_tables_give_a_config_or_its_problems(config: dict[str, object]) -> None:
    """No other exception, and nothing of any text value in a message: it may be a secret in the wrong place."""
    try:
        parse(document(config), PATH, TYPES, {})
    except ConfigError as error:
        check(error)


@given(
    st.dictionaries(
        st.sampled_from(["source", "argv", "path", "field", "service", "name", "audience", "mode"]),
        MARKED | st.lists(MARKED),
    )
)
def test_a_secret_for_any_key_of_a_credential_stays_unseen(table: dict[str, object]) -> None:
    """For every source type."""
    for type_ in TYPES:
        try:
            parse(document({"credentials": {"one": {"source": type_} | table}}), PATH, TYPES, {})
        except ConfigError as error:
            check(error)


@given(st.text(max_size=60) | st.text(alphabet="[]{}=\"'\n\\#.,abc1 ", max_size=60))
@settings(max_examples=300)
def test_any_text_gives_a_config_or_its_problems(text: str) -> None:
    """Not even a syntax error repeats what stands there."""
    try:
        parse(f"{text}\n'fake-secret'={text}", PATH, TYPES, {})
    except ConfigError as error:
        check(error)


@given(content=st.binary(max_size=80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_a_config_or_its_problems(tmp_path: Path, content: bytes) -> None:
    """A file is whatever its writer was."""
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    try:
        read(path, TYPES, {})
    except ConfigError as error:
        check(error)
