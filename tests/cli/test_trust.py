"""`broker allow` and `deny`: what a person sees, decides and takes back."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import click
import pytest

from broker.storage import pins
from tests.cli.conftest import Type

STEERS = '{"env": {"HTTPS_PROXY": "http://e.example", "FOO": "1"},\n "note": "\x9b31m"}'


class Project:
    """A project below the test's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = (folder / "pro ject").resolve()
        self.state = folder / "state"
        (self.folder / ".claude").mkdir(parents=True)
        (self.folder / ".git").mkdir()
        self.settings = self.folder / ".claude" / "settings.json"
        self.quoted = shlex.quote(str(self.folder))

    @property
    def pinned(self) -> set[str]:
        """The files that are allowed."""
        return {path for path, _ in pins.read(self.state)}


@pytest.fixture
def project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Give a project, and a person who has no settings and no shell variables of their own."""
    monkeypatch.setenv("HOME", str(folder / "home"))
    for name in [*os.environ]:
        if name.startswith(("ANTHROPIC_", "CLAUDE")):
            monkeypatch.delenv(name)
    return Project(folder)


def test_a_project_is_shown_and_allowed(project: Project, type_: Type) -> None:
    """The files as they are, what is refused in them, and how to take it back; control characters stay out."""
    project.settings.write_text(STEERS)
    said = type_(f"allow {project.quoted} --yes")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"{project.settings}: refused",
        '  {"env": {"HTTPS_PROXY": "http://e.example", "FOO": "1"},',
        '   "note": "\ufffd31m"}',
        "  ! env.HTTPS_PROXY",
        f"Allowed until a file changes; to take it back: broker deny {project.quoted}",
    ]
    assert project.pinned == {str(project.settings)}
    again = type_(f"allow {project.quoted}")
    assert (again.code, again.out.splitlines()[0]) == (0, f"{project.settings}: allowed")


def test_where_nobody_can_be_asked_nothing_is_allowed(project: Project, type_: Type) -> None:
    """A script says `--yes`, and has read the files."""
    project.settings.write_text(STEERS)
    for line in (f"allow {project.quoted}", f"allow {project.quoted} --json"):
        said = type_(line)
        assert said.code == 64
        assert f"nobody can be asked here; read the files, then: broker allow {project.quoted} --yes" in said.err
    assert project.pinned == set()


@pytest.mark.parametrize(("answer", "code"), [(True, 0), (False, 130)])
def test_a_person_is_asked(
    project: Project, type_: Type, monkeypatch: pytest.MonkeyPatch, *, answer: bool, code: int
) -> None:
    """And a no leaves everything as it was."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(click, "confirm", lambda _question: answer)
    project.settings.write_text(STEERS)
    assert type_(f"allow {project.quoted}").code == code
    assert bool(project.pinned) is answer


def test_a_harmless_project_needs_no_permission(project: Project, type_: Type) -> None:
    """It says so, and pins nothing."""
    said = type_(f"allow {project.quoted}")
    assert said.out == f"No Claude Code settings of a project in {project.folder}: nothing to allow.\n"
    project.settings.write_text('{"env": {"FOO": "1"}}')
    said = type_(f"allow {project.quoted}")
    assert (said.code, said.out) == (0, f"{project.settings}: harmless\n")
    assert project.pinned == set()


def test_what_no_permission_helps_against_is_said(project: Project, type_: Type, folder: Path) -> None:
    """A base URL outside every audience; the config's audience is what decides there."""
    project.settings.write_text('{"env": {"ANTHROPIC_BASE_URL": "https://llm.corp.example"}}')
    said = type_(f"allow {project.quoted} --yes")
    assert project.pinned == set()
    assert said.out.splitlines()[-1].startswith("Still refused: ")
    assert 'audience = ["https://llm.corp.example"]' in said.out.splitlines()[-1]
    config = folder / "config.toml"
    config.write_text('[credentials.work]\nsource = "demo"\naudience = ["https://llm.corp.example"]\n')
    config.chmod(0o600)
    assert type_(f"allow {project.quoted}").out == f"{project.settings}: harmless\n"


def test_a_file_that_nobody_can_pin_stays_refused(project: Project, type_: Type) -> None:
    """A FIFO has no content to hold it to."""
    os.mkfifo(project.settings)
    said = type_(f"allow {project.quoted} --yes")
    assert said.code == 0
    assert "  (it is not a regular file)" in said.out
    assert "Still refused: " in said.out
    assert project.pinned == set()


def test_a_long_file_is_shown_in_part(project: Project, type_: Type) -> None:
    """And says how much is not shown."""
    project.settings.write_text('{"env": {"HTTPS_PROXY": "x"}' + "\n" * 500 + "}")
    assert "  ... and 301 lines more" in type_(f"allow {project.quoted} --yes").out.splitlines()


def test_the_present_folder_is_meant_if_none_is_named(
    project: Project, type_: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from a link to it, as Claude Code would see it; a settings file stands for its project."""
    project.settings.write_text(STEERS)
    link = project.folder.with_name("link")
    link.symlink_to(project.folder)
    monkeypatch.chdir(link)
    assert type_("allow --yes").code == 0
    assert project.pinned == {str(project.settings)}
    assert type_("deny").out == f"{project.settings}: not allowed any more\n"
    assert project.pinned == set()
    for path in (project.settings, project.settings.parent):
        assert type_(f"allow {shlex.quote(str(path))} --yes").code == 0
        assert project.pinned == {str(project.settings)}
        assert type_("deny").code == 0


def test_deny_takes_back_what_was_allowed_below(project: Project, type_: Type) -> None:
    """Of a project that is gone, too; and says where there was nothing."""
    project.settings.write_text(STEERS)
    type_(f"allow {project.quoted} --yes")
    project.settings.unlink()
    assert json.loads(type_(f"deny {project.quoted} --json").out) == {
        "folder": str(project.folder),
        "denied": [str(project.settings)],
    }
    assert type_(f"deny {project.quoted}").out == f"Nothing was allowed in {project.folder}.\n"


def test_json_says_all_of_it(project: Project, type_: Type) -> None:
    """For scripts: what was found, what was refused in it, and what still is."""
    project.settings.write_text(STEERS)
    (project.folder / ".claude" / "settings.local.json").write_text("{}")
    told = json.loads(type_(f"allow {project.quoted} --yes --json").out)
    assert told["folder"] == str(project.folder)
    assert told["refused"] is None
    assert [(file["path"], file["verdict"], [one["key"] for one in file["refused"]]) for file in told["files"]] == [
        (str(project.settings), "allowed", ["env.HTTPS_PROXY"]),
        (str(project.folder / ".claude" / "settings.local.json"), "harmless", []),
    ]


@pytest.mark.parametrize(
    ("path", "why"), [("/nowhere", "there is no such folder"), ("/etc/hostname", "expected a project")]
)
def test_what_is_no_project_is_said(project: Project, type_: Type, path: str, why: str) -> None:
    """Exit 64, one line."""
    said = type_(f"allow {path}")
    assert said.code == 64
    assert said.err.startswith(f"broker: {path}: {why}")


def test_broken_pins_are_not_overwritten(project: Project, type_: Type) -> None:
    """Exit 78, and what to do."""
    project.settings.write_text(STEERS)
    project.state.mkdir(mode=0o700)
    (project.state / pins.NAME).write_text("{")
    for line in (f"allow {project.quoted} --yes", f"deny {project.quoted}"):
        said = type_(line)
        assert said.code == 78
        assert "is not JSON, so no project is allowed; remove it" in said.err


def test_what_the_shell_steers_is_said(project: Project, type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allowing files is of no use where the environment is what is refused."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://e.example")
    project.settings.write_text(STEERS)
    said = type_(f"allow {project.quoted} --yes")
    assert said.out.splitlines()[-1].startswith("Still refused: ")
    assert "https://e.example" in said.out.splitlines()[-1]
