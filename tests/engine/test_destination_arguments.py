"""What of Claude Code's command line is believed."""

from __future__ import annotations

import pytest

from broker.engine.destination import Flags, flags

TEXT = '{"env": {}}'


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param((), Flags(), id="unknown"),
        pytest.param(("claude", "-p", "x"), Flags(), id="none"),
        pytest.param(("claude", "--settings", "f.json"), Flags("f.json"), id="a file"),
        pytest.param(("claude", f"--settings={TEXT}"), Flags(TEXT), id="text, with an equals sign"),
        pytest.param(("claude", "--settings", "a", "--settings", "b"), Flags("b"), id="the last one counts"),
        pytest.param(("claude", "--settings"), Flags(""), id="without a value"),
        pytest.param(("claude", "--setting-sources", "user"), Flags(sources=frozenset({"user"})), id="sources"),
        pytest.param(
            ("node", "/opt/claude/cli.js", "-p", "--setting-sources=user, project"),
            Flags(sources=frozenset({"user", "project"})),
            id="sources with a blank, after a switch",
        ),
        pytest.param(("claude", "--setting-sources", ""), Flags(sources=frozenset({""})), id="no sources at all"),
        pytest.param(("claude", "-p", "x", "--ignore-persisted-trust"), Flags(ignores_projects=True), id="no trust"),
        pytest.param(("claude", "--ignore-persisted-trust"), Flags(), id="no trust, but a person who may give it"),
        pytest.param(
            ("claude", "--ignore-persisted-trust", "--append-system-prompt", "-p"),
            Flags(doubtful=True),
            id="no trust, perhaps a person",
        ),
        pytest.param(("claude", "-p", "--", "--setting-sources", "user"), Flags(), id="a prompt after --"),
        pytest.param(
            ("claude", "--append-system-prompt", "--setting-sources", "user"),
            Flags(doubtful=True),
            id="perhaps another option's value",
        ),
        pytest.param(
            ("claude", "--model", "--ignore-persisted-trust"), Flags(doubtful=True), id="no trust, perhaps a value"
        ),
        pytest.param(
            ("claude", "--future", "--settings", "f.json"),
            Flags("f.json", doubtful=True),
            id="after an option that we do not know",
        ),
        pytest.param(
            ("claude", "--model=x", "--setting-sources", "user"),
            Flags(sources=frozenset({"user"})),
            id="after an option that has its value",
        ),
    ],
)
def test_a_steering_option_counts_where_it_can_be_nothing_else(arguments: tuple[str, ...], expected: Flags) -> None:
    """A prompt from outside that reads like an option must not switch the guard off."""
    assert flags(arguments) == expected


@pytest.mark.parametrize("text", [TEXT, f" \n{TEXT}", f"\N{BOM}{TEXT}", "{"])
def test_settings_in_the_command_line_itself_are_told_from_a_path(text: str) -> None:
    """By the brace, after everything that JavaScript calls blank."""
    assert flags(("claude", "--settings", text)).is_text
    assert not flags(("claude", "--settings", f"x{text}")).is_text
    assert not flags(("claude",)).is_text


def test_the_sources_that_are_not_named_are_not_taken_up() -> None:
    """Without the option all are."""
    assert flags(("claude",)).names("project")
    assert flags(("claude", "--setting-sources", "user")).names("user")
    assert not flags(("claude", "--setting-sources", "user")).names("local")
