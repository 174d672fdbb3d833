"""Editing our own config: comments, order and layout stay, and what cannot be edited safely is not."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from broker.config import edit
from broker.errors import ConfigError

PATH = Path("/fake/config.toml")
URL = "https://llm.example:4000"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            '[credentials.work]\nsource = "x" # mine\n\n# about the next\n[credentials.b]\nsource = "y"\n',
            f'[credentials.work]\nsource = "x" # mine\naudience = ["{URL}"]\n\n# about the next\n[credentials.b]\nsource = "y"\n',
        ),
        (
            '[credentials.work]\nsource = "x"\naudience = [\n  "https://a", # first\n]\n',
            f'[credentials.work]\nsource = "x"\naudience = [\n  "https://a", # first\n  "{URL}",\n]\n',
        ),
        (
            'default = "work"\r\n[credentials.work]\r\nsource = "x"\r\n',
            f'default = "work"\r\n[credentials.work]\r\nsource = "x"\r\naudience = ["{URL}"]\r\n',
        ),
        (
            '[credentials]\nwork = { source = "x" }\n',
            f'[credentials]\nwork = {{ source = "x", audience = ["{URL}"] }}\n',
        ),
        ('credentials.work.source = "x"\n', f'credentials.work.source = "x"\ncredentials.work.audience = ["{URL}"]\n'),
    ],
)
def test_an_audience_is_added_where_it_belongs_and_taken_out_again(before: str, after: str) -> None:
    """However the credential is written, and to the byte in both directions."""
    added = edit.add_audience(before, PATH, "work", URL)
    assert added.replace(" }", "}") == after.replace(" }", "}")  # the blank before a brace is tomlkit's business
    assert edit.remove_audience(added, PATH, "work", URL) == before
    assert edit.remove_audience(before, PATH, "work", URL) == before


@pytest.mark.parametrize("text", ["", "credentials = 5", "credentials.work = 5", "credentials.work.audience = 5"])
def test_what_is_not_there_is_not_taken_out(text: str) -> None:
    """However odd the config has become since."""
    assert edit.remove_audience(text, PATH, "work", URL) == text


def test_a_first_credential_makes_a_config() -> None:
    """With the command that gives it its secret beside it."""
    text = edit.add_local("", PATH, "anthropic")
    assert tomllib.loads(text) == {"credentials": {"anthropic": {"source": "local"}}}
    assert "broker secret set anthropic" in text


@pytest.mark.parametrize("before", ['[daemon]\nlog_level = "debug"', "[daemon]\r\n# end\r\n", "# nothing yet\n\n"])
def test_a_credential_is_added_at_the_end(before: str) -> None:
    """Every byte before it stays; the line ends are the file's."""
    added = edit.add_local(before, PATH, "new")
    assert added.startswith(before)
    assert tomllib.loads(added)["credentials"] == {"new": {"source": "local"}}
    assert added.count("\r\n") == (added.count("\n") if "\r\n" in before else 0)


def test_what_was_the_default_stays_the_default() -> None:
    """The only credential is served to whoever names none; a second one must not make that ask fail."""
    only = '[credentials.work]\nsource = "x"\n'
    added = tomllib.loads(edit.add_local(only, PATH, "new"))
    assert (added["default"], list(added["credentials"])) == ("work", ["work", "new"])
    assert edit.add_local(f'default = "work"\n{only}', PATH, "new").count("default") == 1
    assert "default" not in edit.add_local(f"{only}[credentials.b]\nsource = 'x'\n", PATH, "new")


def test_what_cannot_be_edited_safely_is_told_to_the_person() -> None:
    """An inline table takes no further table: the line says what to write by hand."""
    with pytest.raises(ConfigError, match=r"/fake/config.toml: .*add a table \[credentials.new\] with source"):
        edit.add_local('credentials = { work = { source = "x" } }\n', PATH, "new")


def test_an_edit_that_reads_back_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library has open bugs: no text of its is written that says anything but what was meant."""
    import tomlkit  # noqa: PLC0415  # to break it

    for wrong in ('[credentials.work]\nsource = "other"\n', "[[["):
        monkeypatch.setattr(tomlkit, "dumps", lambda _document, wrong=wrong: wrong)
        with pytest.raises(ConfigError, match="by hand, then run this again"):
            edit.add_audience('[credentials.work]\nsource = "x"\n', PATH, "work", URL)


def test_a_library_that_gives_up_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its errors are many; each is the same line for the person."""
    import tomlkit  # noqa: PLC0415  # to break it

    def give_up(_text: str) -> None:
        raise tomlkit.exceptions.TOMLKitError

    monkeypatch.setattr(tomlkit, "parse", give_up)
    with pytest.raises(ConfigError, match="by hand, then run this again"):
        edit.add_audience('[credentials.work]\nsource = "x"\n', PATH, "work", URL)
