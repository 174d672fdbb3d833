"""What the test command says on a machine that lacks something."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import __main__ as command
from tests import setup_claude_code, setup_debian, setup_python
from tests.setup_debian import MissingPart


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any of the programs, for somebody who is not root."""
    monkeypatch.setattr("shutil.which", lambda _name: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)


@pytest.mark.usefixtures("nothing_installed")
def test_missing_debian_packages_are_named_with_the_command() -> None:
    """One line to copy, with every package."""
    with pytest.raises(MissingPart, match=r"apt-get install .*gnome-keyring .*libc6-dev$"):
        setup_debian.prepare()


def test_postgresql_comes_without_a_server_that_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its packages would make a database cluster and start it; afterwards they are set up as before."""
    settings = tmp_path / "createcluster.conf"
    made = []

    def apt_get(command: list[str], **_how: object) -> None:
        if "postgresql-common" in command:
            settings.write_text("#create_main_cluster = true\n")
        if "postgresql" in command:
            made.append("\ncreate_main_cluster = false\n" not in settings.read_text())

    monkeypatch.setattr(setup_debian, "CREATE_CLUSTER", settings)
    monkeypatch.setattr("subprocess.run", apt_get)
    setup_debian.install(["gcc", "postgresql"])
    assert made == [False]
    assert settings.read_text() == "#create_main_cluster = true\n"


def test_a_python_without_ensurepip_names_the_package(monkeypatch: pytest.MonkeyPatch, nothing_installed: None) -> None:
    """Debian's own Python comes without the module that makes environments usable."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingPart, match=r"apt-get install python3\.\d+-venv$"):
        setup_python.have_ensurepip()


def test_without_npm_the_message_says_what_it_is_needed_for(
    monkeypatch: pytest.MonkeyPatch, nothing_installed: None
) -> None:
    """And nothing is left half installed."""
    monkeypatch.setattr(setup_claude_code, "VERSIONS", ("0.0.0",))
    with pytest.raises(MissingPart, match="Claude Code need npm"):
        setup_claude_code.prepare()


def test_what_is_missing_costs_only_its_tests_but_fails_ci(
    monkeypatch: pytest.MonkeyPatch, nothing_installed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A developer goes on without valgrind; CI does not."""
    monkeypatch.setenv("CI", "")
    command.optional(setup_debian.prepare)
    assert "skipped" in capsys.readouterr().out
    monkeypatch.setenv("CI", "true")
    with pytest.raises(MissingPart):
        command.optional(setup_debian.prepare)


def test_an_unknown_argument_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """It shows the usage instead, and fails."""
    assert command.main(["--uint"]) != 0
    assert "--unit" in capsys.readouterr().out
