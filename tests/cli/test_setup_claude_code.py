"""`broker setup claude-code`: what a person sees, and what becomes of their files."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from broker import background, durations
from broker.cli.setup import check as setup_check
from broker.integrations import installed_helper, textfile
from broker.integrations.claude_code import record, settings, telemetry
from tests.cli.conftest import Said, Type
from tests.fakes.control import Script, credential_status

CONFIG = '[credentials.work]\nsource = "env"\nname = "X"\n'
SECRET = "fake-secret-1"
URL = "https://llm.example:4000"
SWITCH = "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"

Setup = Callable[[str], Said]


@pytest.fixture(autouse=True)
def home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a developer with a config, a home, a project as working folder, and an installed helper."""
    (folder / "home").mkdir()
    (folder / "project").mkdir()
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "CLAUDE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.chdir(folder / "project")
    monkeypatch.setattr(settings, "_MANAGED", folder / "managed.json")
    monkeypatch.setattr(background, "reload", lambda _client: True)
    (folder / "bin").mkdir()
    (folder / "bin" / "broker-helper").write_bytes(b"\x7fELF")
    monkeypatch.setattr(installed_helper, "path", lambda: folder / "bin" / "broker-helper")
    (folder / "config.toml").write_text(CONFIG)
    (folder / "config.toml").chmod(0o600)
    return folder / "home"


@pytest.fixture
def file(home: Path) -> Path:
    """Give the user's settings file, which is not there yet."""
    return home / ".claude" / "settings.json"


@pytest.fixture
def setup(type_: Type) -> Setup:
    """Give `setup("--undo")`."""

    def setup_(line: str) -> Said:
        return type_(f"setup claude-code {line}")

    return setup_


def write(file: Path, text: str) -> str:
    """Write settings as a person would; return them."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, newline="")
    return text


def read(file: Path) -> dict[str, Any]:
    """Return what the settings say."""
    found: dict[str, Any] = json.loads(file.read_text("utf-8-sig"))
    return found


def ttl_ms(file: Path) -> str:
    """Return the TTL that Claude Code will go by."""
    text: str = read(file)["env"]["CLAUDE_CODE_API_KEY_HELPER_TTL_MS"]
    return text


def test_from_nothing_to_a_settings_file(setup: Setup, file: Path, control: Script, folder: Path) -> None:
    """The helper's absolute path, the TTL, and what was done is shown; a token came as a proof."""
    said = setup("--credential work")
    assert (said.code, said.err) == (0, "")
    assert read(file) == {
        "apiKeyHelper": f"{folder}/bin/broker-helper work",
        "env": {"CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "1800000"},
    }
    assert f'+  "apiKeyHelper": "{folder}/bin/broker-helper work",' in said.out
    assert "ttl 30m: tokens of work live 1h" in said.out
    assert said.out.endswith("work: a token is there (42m left)\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_second_time_changes_nothing(setup: Setup, file: Path, control: Script) -> None:
    """It says so; `--undo` still goes back to before the first time."""
    setup("--credential work")
    before = file.stat().st_ino
    said = setup("--credential work")
    assert (said.code, said.out.splitlines()[0]) == (0, f"{file}: set up already")
    assert file.stat().st_ino == before
    assert setup("--undo").code == 0
    assert not file.exists()


@pytest.mark.parametrize(
    "text", ["", " ", "\ufeff", "{}", '{"a":1}', '{\r\n\t"x": 1,\r\n\t"x": 2\r\n}\r\n', '{"env":{}}']
)
def test_undo_puts_back_the_bytes(setup: Setup, file: Path, control: Script, text: str) -> None:
    """Whatever the file was: empty, with a byte-order mark, CRLF, tabs, odd keys."""
    write(file, text)
    file.chmod(0o640)
    assert setup("--credential work").code == 0
    assert read(file)["apiKeyHelper"]
    said = setup("--undo")
    assert (said.code, said.out, said.err) == (0, f"{file}: as before\n", "")
    assert file.read_bytes() == text.encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_undo_leaves_no_folders_where_a_link_led_nowhere_yet(
    setup: Setup, file: Path, control: Script, folder: Path
) -> None:
    """All that were made on the way to what it leads to."""
    file.parent.mkdir()
    (folder / "dotfiles").mkdir()
    file.symlink_to(folder / "dotfiles" / "claude" / "here" / "settings.json")
    assert setup("--credential work").code == 0
    assert file.exists()
    assert setup("--undo").code == 0
    assert list((folder / "dotfiles").iterdir()) == []
    assert file.is_symlink()


def test_undo_without_a_setup_says_so(setup: Setup, file: Path) -> None:
    """And touches nothing."""
    write(file, '{"apiKeyHelper": "/bin/x"}')
    said = setup("--undo")
    assert (said.code, said.out) == (0, f"{file}: nothing was set up there by this broker\n")


def test_undo_after_somebody_edited_takes_out_only_ours(setup: Setup, file: Path, control: Script) -> None:
    """What Claude Code or a person wrote since stays, to the byte."""
    write(file, '{\n  "model": "a"\n}\n')
    setup("--credential work")
    write(file, file.read_text().replace('"model": "a"', '"model":  "b",\n  "env2": {}'))
    assert setup("--undo").code == 0
    assert file.read_text() == '{\n  "model":  "b",\n  "env2": {}\n}\n'


def test_undo_leaves_what_somebody_changed_of_ours_and_says_so(setup: Setup, file: Path, control: Script) -> None:
    """It is no longer certain whose it is: exit code 1, and a line that names the key."""
    write(file, '{"apiKeyHelper": "/bin/old-helper"}')
    setup("--credential work --yes")
    write(file, file.read_text().replace('"1800000"', '"60000"'))
    said = setup("--undo")
    assert said.code == 1
    assert said.err == (
        f"broker: warning: env.CLAUDE_CODE_API_KEY_HELPER_TTL_MS in {file} was changed since, and stays\n"
    )
    assert read(file) == {
        "apiKeyHelper": "/bin/old-helper",
        "env": {"CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "60000"},
    }


def test_undo_of_a_file_that_is_gone_or_broken(setup: Setup, file: Path, control: Script) -> None:
    """Broken: nothing is touched, the line says where. Gone: there is nothing to take back."""
    write(file, "{}")
    setup("--credential work")
    text = write(file, '{"env": {}, // mine\n}')
    said = setup("--undo")
    assert said.code == 78
    assert said.err.startswith(f"broker: {file}: line 1, column 13: not valid JSON; JSON has no comments")
    assert file.read_text() == text
    file.unlink()
    said = setup("--undo")
    assert (said.code, said.err) == (1, f"broker: warning: {file} is gone\n")
    assert setup("--undo").out.endswith("nothing was set up there by this broker\n")


def test_undo_can_be_looked_at_first(setup: Setup, file: Path, control: Script) -> None:
    """Nothing changes."""
    setup("--credential work")
    said = setup("--undo --dry-run")
    assert (said.code, said.out) == (0, f"would be: {file}: removed, as before\n")
    assert file.exists()


def test_a_dry_run_changes_nothing(setup: Setup, file: Path, folder: Path, control: Script) -> None:
    """No file, no record, and no token is fetched for it."""
    control.credentials = [credential_status("work", last_refresh_at=None, lifetime_s=None, state="empty")]
    said = setup(f"--credential work --base-url {URL} --dry-run")
    assert said.code == 0
    assert said.out.endswith("nothing was changed (--dry-run)\n")
    assert f"[credentials.work] is released for {URL} (audience)" in said.out
    assert not file.exists()
    assert not (folder / "state").exists()
    assert (folder / "config.toml").read_text() == CONFIG
    assert control.asks == ["GET /v1/status"]


def test_no_value_of_the_persons_is_shown(setup: Setup, file: Path, control: Script) -> None:
    """Neither on one line nor over many; the record of what was there is for the owner alone."""
    for text in (
        f'{{"env": {{"ANTHROPIC_API_KEY": "{SECRET}"}}, "apiKeyHelper": "echo {SECRET}"}}',
        f'{{\n "apiKeyHelper": "{SECRET}",\n "env": {{\n  "ANTHROPIC_AUTH_TOKEN": "{SECRET}"\n }}\n}}',
    ):
        write(file, text)
        said = setup("--credential work --yes")
        assert said.code == 0
        assert SECRET not in said.out + said.err
        assert "wins over the helper; remove it there" in said.err
        assert setup("--undo").code == 0


def test_the_record_is_private(setup: Setup, file: Path, folder: Path, control: Script) -> None:
    """It holds the settings of before, so nobody else can read it; the undo removes it."""
    write(file, f'{{"env": {{"X": "{SECRET}"}}}}')
    setup("--credential work")
    (kept,) = (folder / "state" / "setup").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    setup("--undo")
    assert not kept.exists()


def test_another_helper_is_replaced_only_by_consent(setup: Setup, file: Path, control: Script) -> None:
    """Without a terminal to ask on, the line names its program and the way on; `--undo` brings it back."""
    text = write(file, f'{{"apiKeyHelper": "/bin/sh --secret {SECRET}"}}')
    said = setup("--credential work")
    assert (said.code, said.err) == (64, "broker: apiKeyHelper is /bin/sh now; to go on: --yes\n")
    assert file.read_text() == text
    assert setup("--credential work --yes").code == 0
    assert read(file)["apiKeyHelper"].endswith("broker-helper work")
    setup("--undo")
    assert file.read_text() == text


@pytest.mark.parametrize(
    ("helper", "shown"),
    [
        (f"{SECRET}", "another helper"),
        (f"KEY={SECRET} run", "another helper"),
        (3, "another helper"),
        ("sh -c 'x", "sh"),
        ("", "another helper"),
    ],
)
def test_a_foreign_helper_is_described_without_its_words(helper: object, shown: str) -> None:
    """People write secrets there, even as the command itself."""
    assert settings.described(helper) == shown


def test_a_helper_of_ours_elsewhere_is_replaced_without_a_question(setup: Setup, file: Path, control: Script) -> None:
    """An upgrade or a move is no conflict."""
    write(file, '{"apiKeyHelper": "/old/place/broker-helper other"}')
    assert setup("--credential work").code == 0
    assert "/old/place" not in file.read_text()


@pytest.mark.parametrize(("answer", "code"), [(True, 0), (False, 1)])
def test_at_a_terminal_it_asks(
    setup: Setup, file: Path, control: Script, monkeypatch: pytest.MonkeyPatch, *, answer: bool, code: int
) -> None:
    """No means that nothing was changed."""
    text = write(file, '{"apiKeyHelper": "/bin/sh"}')
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr(click, "confirm", confirm)
    said = setup("--credential work")
    assert (said.code, asked) == (code, ["apiKeyHelper is /bin/sh now. Go on?"])
    assert (file.read_text() == text) == (not answer)


@pytest.mark.parametrize("who", ["a person", "our config", "another setup"])
def test_what_somebody_wrote_while_the_question_stood_is_not_overwritten(
    setup: Setup, file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """Nothing at all is changed then; a second run starts from what is there now."""
    write(file, '{"apiKeyHelper": "/bin/sh"}')

    def confirm(_question: str) -> bool:
        with monkeypatch.context() as patched:
            patched.setattr("sys.stdin.isatty", lambda: False, raising=False)
            if who == "a person":
                write(file, '{"apiKeyHelper": "/bin/cat"}')
            elif who == "our config":
                (folder / "config.toml").write_text(f"{CONFIG}# mine\n")
            else:
                setup("--credential work --ttl 1m --yes")
                write(file, '{"apiKeyHelper": "/bin/sh"}')
        return True

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "confirm", confirm)
    said = setup(f"--credential work --ttl 2m --base-url {URL}")
    assert (said.code, "run this again" in said.err) == (75, True)
    assert read(file) == {"apiKeyHelper": "/bin/cat" if who == "a person" else "/bin/sh"}
    assert URL not in (folder / "config.toml").read_text()
    assert len(list((folder / "state" / "setup").iterdir())) == (1 if who == "another setup" else 0)


def test_large_settings_can_be_undone(setup: Setup, file: Path, control: Script) -> None:
    """What is accepted is also kept: the record holds it twice."""
    text = write(file, json.dumps({"x": "\u00e9" * 400_000}, ensure_ascii=False))
    assert setup("--credential work").code == 0
    assert setup("--undo").code == 0
    assert file.read_text() == text


def test_tabs_are_shown_as_such(setup: Setup, file: Path, control: Script) -> None:
    """What else is not printable is not printed."""
    write(file, '{\n\t"a\x7f": 1\n}\n')
    assert '+   "a\ufffd": "…",\n' in setup("--credential work").out


def test_a_folder_with_other_things_in_it_stays(setup: Setup, file: Path, control: Script) -> None:
    """Undo removes the folder that it made only while nobody uses it."""
    setup("--credential work")
    (file.parent / "CLAUDE.md").write_text("mine")
    assert setup("--undo").code == 0
    assert [path.name for path in file.parent.iterdir()] == ["CLAUDE.md"]


def test_a_base_url_is_released_in_the_config_after_it_was_shown(
    setup: Setup, file: Path, folder: Path, control: Script
) -> None:
    """And the line says what the credential is no longer released for."""
    said = setup(f"--credential work --base-url {URL}/")
    assert said.code == 64
    assert f"credential work will be released for {URL} and no longer for https://api.anthropic.com" in said.err
    said = setup(f"--credential work --base-url {URL}/ --yes")
    assert read(file)["env"]["ANTHROPIC_BASE_URL"] == URL
    assert (folder / "config.toml").read_text() == f'{CONFIG}audience = ["{URL}"]\n'
    assert setup(f"--credential work --base-url {URL}/below").code == 64, "another base URL would be replaced"
    setup("--undo")
    assert (folder / "config.toml").read_text() == CONFIG


def test_the_key_is_kept_out_of_claude_codes_telemetry(setup: Setup, file: Path, control: Script) -> None:
    """Where requests go to another place than Anthropic's: the switch is set, said with its reason, and taken back."""
    text = write(file, '{"env": {"EDITOR": "vi"}}')
    said = setup(f"--credential work --base-url {URL} --yes")
    assert read(file)["env"][SWITCH] == "1"
    assert [line for line in said.out.splitlines() if SWITCH in line][-1] == (
        f"{SWITCH}=1: else Claude Code (2.1.197) sends the key to https://api.anthropic.com too, with its telemetry"
    )
    assert said.err == ""
    assert SWITCH not in setup("--credential work").out, "a second time says nothing of it"
    assert setup("--undo").code == 0
    assert file.read_text() == text


@pytest.mark.parametrize("where", ["settings", "shell"])
def test_an_address_that_was_there_before_wants_the_switch_too(
    setup: Setup, file: Path, control: Script, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Whoever set it: the key would go the same way."""
    if where == "settings":
        write(file, f'{{"env": {{"ANTHROPIC_BASE_URL": "{URL}"}}}}')
    else:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", URL)
    setup("--credential work")
    assert read(file)["env"][SWITCH] == "1"


@pytest.mark.parametrize("options", ["", "--base-url https://api.anthropic.com"])
def test_anthropics_own_key_may_go_to_anthropic(setup: Setup, file: Path, control: Script, options: str) -> None:
    """What a person sends there anyway is left alone."""
    setup(f"--credential work {options}")
    assert SWITCH not in read(file)["env"]


@pytest.mark.parametrize(("value", "warned"), [('"1"', False), ('"true"', False), ('"0"', True), ('""', True)])
def test_a_switch_that_a_person_has_set_stays(
    setup: Setup, file: Path, control: Script, *, value: str, warned: bool
) -> None:
    """Where it is not on, a line says what that means and how to mend it."""
    write(file, f'{{"env": {{"{SWITCH}": {value}}}}}')
    said = setup(f"--credential work --base-url {URL} --yes")
    assert read(file)["env"][SWITCH] == json.loads(value)
    assert (f'broker: warning: env.{SWITCH} in {file} stays as you set it; set it to "1", else' in said.err) == warned


@pytest.mark.parametrize(
    ("base_url", "switch", "expected"),
    [
        (None, None, False),
        ("", None, False),
        ("https://api.anthropic.com", None, False),
        ("https://api.anthropic.com/v1", "0", False),
        ("http://api.anthropic.com", None, True),
        (URL, None, True),
        (URL, "", True),
        (URL, "0", True),
        (URL, "1", False),
        (URL, "True", False),
    ],
)
def test_when_the_key_goes_to_anthropic_though_it_is_not_meant_for_there(
    base_url: str | None, switch: str | None, *, expected: bool
) -> None:
    """The rule that setup and doctor share."""
    assert telemetry.takes_key_elsewhere(base_url, switch) == expected


def test_a_base_url_within_the_audience_needs_no_question(setup: Setup, folder: Path, control: Script) -> None:
    """Such as the provider's own, or one below a URL that is listed."""
    assert setup("--credential work --base-url https://api.anthropic.com").code == 0
    assert (folder / "config.toml").read_text() == CONFIG


def test_litellm_gets_its_path(setup: Setup, file: Path, control: Script) -> None:
    """Claude Code talks to its Anthropic pass-through; the address may be given with or without that."""
    for address in (URL, f"{URL}/anthropic"):
        assert setup(f"--credential work --provider litellm --base-url {address} --yes").code == 0
        assert read(file)["env"]["ANTHROPIC_BASE_URL"] == f"{URL}/anthropic"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--provider litellm", "needs its address"),
        ("--base-url ftp://x", "--base-url: expected a base URL"),
        ("--base-url https://u:fake-secret-1@x", "--base-url: expected a base URL"),
        ("--base-url https://*.x.example", "one address, without *"),
        ("--ttl 1s", "at least 2s"),
        ("--ttl soon", "expected a duration"),
        ("--credential ../x", "a name is letters"),
        ("--scope all", "not one of"),
    ],
)
def test_what_cannot_be_is_one_line(setup: Setup, file: Path, options: str, said: str) -> None:
    """Exit code 64, and nothing is changed."""
    answer = setup(options)
    assert answer.code == 64
    assert said in answer.err
    assert answer.err.count("\n") == 1
    assert SECRET not in answer.err
    assert not file.exists()


def test_a_typing_error_in_the_name_is_no_new_credential(setup: Setup, file: Path) -> None:
    """It says which one was probably meant."""
    said = setup("--credential wrk")
    assert said.code == 78
    assert "no credential is named wrk; did you mean 'work'?" in said.err
    assert not file.exists()


def test_a_first_credential_is_made_in_the_store(
    setup: Setup, file: Path, folder: Path, control: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a config there is one afterwards, for its owner alone; the daemon is asked as soon as it has read it."""
    (folder / "config.toml").unlink()
    monkeypatch.setattr(background, "reload", lambda _client: control.tokens.update(anthropic="fake-token-2"))
    said = setup("")
    assert (said.code, said.err) == (0, "")
    assert read(file)["apiKeyHelper"].endswith("/broker-helper")
    assert "[credentials.anthropic] is added" in said.out
    assert said.out.endswith("anthropic: a token is there (42m left)\n")
    assert stat.S_IMODE((folder / "config.toml").stat().st_mode) == 0o600
    said = setup("--undo")
    assert "broker stop" in said.out
    assert not (folder / "config.toml").exists()
    assert not file.parent.exists()


def test_a_further_credential_is_made_in_the_store(
    setup: Setup, folder: Path, control: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below what is there; where its secret is missing, the daemon's own words say so."""
    monkeypatch.setattr(setup_check, "_RELOADED_WITHIN_S", 0.05)
    said = setup(f"--credential second --base-url {URL} --yes")
    assert said.code == 0
    assert "broker: warning: second gives no token yet: no credential is named second" in said.err
    config = folder / "config.toml"
    assert tomllib.loads(config.read_text())["credentials"]["second"] == {"source": "local", "audience": [URL]}
    config.write_text(f"{config.read_text()}# mine\n")
    said = setup("--undo")
    assert (said.code, f"{config} was changed since, so [credentials.second] stays in it" in said.err) == (1, True)
    assert URL not in config.read_text()


@pytest.mark.parametrize("text", ["credentials = 5\n", "credentials.x = 5\n", f'default = "y"\n{CONFIG}', "[[["])
def test_an_odd_config_is_no_traceback(setup: Setup, file: Path, folder: Path, text: str) -> None:
    """Its problems are told as ever."""
    (folder / "config.toml").write_text(text)
    assert setup("").code == 78
    assert not file.exists()


def test_several_credentials_and_no_default_want_a_name(setup: Setup, file: Path, folder: Path) -> None:
    """The line lists them; with a default the helper needs no name."""
    config = folder / "config.toml"
    config.write_text(CONFIG + '[credentials.other]\nsource = "demo"\n')
    said = setup("")
    assert (said.code, "--credential work|other" in said.err) == (64, True)
    config.write_text('default = "other"\n' + config.read_text())
    assert setup("").code == 0
    assert read(file)["apiKeyHelper"].endswith("/broker-helper")


def test_a_broken_config_is_told_and_nothing_changed(setup: Setup, file: Path, folder: Path) -> None:
    """Every problem at once, as `broker config check` says it; one that others can write is refused."""
    config = folder / "config.toml"
    config.write_text(CONFIG + "audience = 5\nnope = 1\n")
    said = setup("--credential work")
    assert (said.code, said.err.count("\n")) == (78, 2)
    config.write_text(CONFIG)
    config.chmod(0o666)
    assert "others can write it" in setup("--credential work").err
    assert not file.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1,}', "JSON has no comma after the last value"),
        ("// mine\n{}", "JSON has no comments"),
        ('{"env": []}', "env: expected an object"),
        ("[]", "holds no JSON object"),
    ],
)
def test_what_claude_code_may_read_otherwise_is_left_alone(setup: Setup, file: Path, text: str, said: str) -> None:
    """One line with the file and the place; not a byte changes."""
    write(file, text)
    answer = setup("--credential work")
    assert answer.code == 78
    assert answer.err.startswith(f"broker: {file}: ")
    assert said in answer.err
    assert file.read_text() == text


def test_a_read_only_file_stops_everything(setup: Setup, file: Path, folder: Path) -> None:
    """Also the change of the config: half a setup helps nobody."""
    text = write(file, "{}")
    file.chmod(0o400)
    said = setup(f"--credential work --base-url {URL} --yes")
    assert (said.code, "is read-only" in said.err) == (74, True)
    assert (file.read_text(), (folder / "config.toml").read_text()) == (text, CONFIG)


def test_a_missing_helper_is_said(setup: Setup, folder: Path) -> None:
    """Claude Code would only show its own error, much later."""
    (folder / "bin" / "broker-helper").unlink()
    said = setup("--credential work")
    assert (said.code, "is missing; reinstall the package" in said.err) == (78, True)


def test_a_helper_in_an_odd_place_is_quoted(
    setup: Setup, file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, control: Script
) -> None:
    """The line is run by a shell; what JSON cannot hold is refused."""
    for name, code in (("a 'b' é", 0), ("a\udcff", 78)):
        helper = folder / name / "broker-helper"
        helper.parent.mkdir()
        helper.write_bytes(b"\x7fELF")
        monkeypatch.setattr(installed_helper, "path", lambda helper=helper: helper)
        assert setup("--credential work").code == code
    assert read(file)["apiKeyHelper"] == f"""'{folder}/a '"'"'b'"'"' é/broker-helper' work"""


def test_claude_config_dir_is_followed(
    setup: Setup, file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, control: Script
) -> None:
    """As Claude Code does."""
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(folder / "elsewhere"))
    assert setup("--credential work").code == 0
    assert read(folder / "elsewhere" / "settings.json")
    assert not file.exists()


@pytest.mark.parametrize(("scope", "name"), [("project", "settings.json"), ("local", "settings.local.json")])
def test_a_project_has_settings_of_its_own(
    setup: Setup, file: Path, folder: Path, control: Script, *, scope: str, name: str
) -> None:
    """The shared one comes with a warning: it names a path of this machine."""
    said = setup(f"--scope {scope} --credential work")
    assert read(folder / "project" / ".claude" / name)["apiKeyHelper"]
    assert ("shared through git" in said.err) == (scope == "project")
    assert not file.exists()
    assert setup(f"--scope {scope} --undo").code == 0


def test_a_cloned_project_cannot_lead_us_elsewhere(setup: Setup, folder: Path) -> None:
    """Its `.claude`, or the file in it, may be a link to a file of the user's: refused, whatever it leads to."""
    (folder / "project" / ".claude").symlink_to(folder / "home")
    said = setup("--scope local --credential work")
    assert (said.code, "trusts no project settings behind links" in said.err) == (77, True)
    assert list((folder / "home").iterdir()) == []


def test_what_would_win_over_the_helper_is_warned_of(
    setup: Setup, file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, control: Script
) -> None:
    """In the settings, in the shell, in settings that rank higher; names, never values."""
    write(file, f'{{"env": {{"ANTHROPIC_AUTH_TOKEN": "{SECRET}", "CLAUDE_CODE_USE_VERTEX": "1"}}}}')
    write(folder / "managed.json", '{"apiKeyHelper": "/bin/cat --x"}')
    write(folder / "project" / ".claude" / "settings.json", "no json")
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    said = setup("--credential work")
    assert said.code == 0
    assert SECRET not in said.out + said.err
    for expected in (
        f"ANTHROPIC_AUTH_TOKEN in the env of {file} wins over the helper; remove it there",
        "ANTHROPIC_API_KEY in your environment wins over the helper; take it out",
        f"CLAUDE_CODE_USE_VERTEX in the env of {file} makes Claude Code use another provider",
        f"{folder}/managed.json names a helper of its own (/bin/cat), which wins",
    ):
        assert f"broker: warning: {expected}" in said.err


def test_a_destination_that_the_guard_would_refuse_is_warned_of(
    setup: Setup, file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, control: Script
) -> None:
    """In the guard's own words; plain http beyond this machine is named too."""
    write(file, '{"env": {"ANTHROPIC_BASE_URL": "https://elsewhere.example"}}')
    said = setup("--credential work")
    assert f"the audience guard would give no key out: {file}: env.ANTHROPIC_BASE_URL" in said.err
    said = setup("--credential work --base-url http://llm.example --yes")
    assert "requests go over http" in said.err
    assert "audience guard" not in said.err
    write(file, "{}")
    assert "no setting names ANTHROPIC_BASE_URL" in setup("--credential work").err
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    assert "http://127.0.0.1:1, which is outside this credential's audience" in setup("--credential work").err


def test_settings_that_the_guard_cannot_read_are_warned_of(setup: Setup, file: Path, control: Script) -> None:
    """Such as a key that is there twice: Claude Code and the guard might read it in two ways."""
    write(file, '{"x": 1, "x": 2}')
    assert "make it a plain JSON file" in setup("--credential work").err
    assert "make it a plain JSON file" in setup("--credential work --scope local").err


@pytest.mark.parametrize(
    ("lifetime_s", "expected"),
    [(3600, "1800000"), (59.97, "2000"), (240, "120000"), (120, "30000"), (None, "300000"), (10**6, "86400000")],
)
def test_the_ttl_leaves_room_to_renew(
    setup: Setup, file: Path, control: Script, lifetime_s: float | None, expected: str
) -> None:
    """Half the lifetime, less for short ones, 2 s at least, no more than `ttl_max`; 5 minutes for a static key."""
    control.credentials = [credential_status("work", lifetime_s=lifetime_s)]
    setup("--credential work")
    assert ttl_ms(file) == expected


def test_a_lifetime_not_seen_yet_has_a_token_fetched(setup: Setup, file: Path, control: Script) -> None:
    """Where none comes, the default is taken and the reason told."""
    control.credentials = [credential_status("work", last_refresh_at=None, lifetime_s=None)]
    control.errors = {"/v1/token": (503, "source-failed", "work: no such file")}
    said = setup("--credential work")
    assert ttl_ms(file) == "300000"
    assert "ttl 5m: no token of work was seen yet; run this again when one was" in said.out
    assert said.err == "broker: warning: work gives no token yet: work: no such file\n"
    assert setup("--credential work --ttl 90s").code == 0
    assert ttl_ms(file) == "90000"


@pytest.mark.parametrize(
    ("ttl", "said"),
    [
        ("30m", ""),
        ("44m", ""),
        ("45m", "tokens of work live 1h, so with --ttl 45m Claude Code keeps using ones that are about to expire"),
        ("2h", "tokens of work live 1h, so with --ttl 2h Claude Code keeps using ones that have expired"),
    ],
)
def test_a_ttl_that_no_token_holds_is_set_with_a_warning(
    setup: Setup, file: Path, control: Script, *, ttl: str, said: str
) -> None:
    """A person's word counts; the line names the TTL that fits, as it can be typed."""
    err = setup(f"--credential work --ttl {ttl}").err
    assert err == (f"broker: warning: {said}; --ttl 1800s fits\n" if said else "")
    assert ttl_ms(file) == str(round(durations.parse(ttl) * 1000))
    assert setup("--credential work --ttl 1800s").err == ""


def test_a_lifetime_that_holds_hardly_any_ttl_wants_less_slack(setup: Setup, control: Script) -> None:
    """By the config's line that mends it."""
    control.credentials = [credential_status("work", lifetime_s=60)]
    err = setup("--credential work --ttl 5m").err
    assert err.endswith('; --ttl 2s fits, with min_validity = "15s" in [credentials.work]\n')


def test_a_ttl_for_a_key_without_expiry_may_be_any(setup: Setup, control: Script) -> None:
    """Nothing is known against it, nor where no token was seen."""
    control.credentials = [credential_status("work", lifetime_s=None)]
    assert setup("--credential work --ttl 24h").err == ""


def test_a_daemon_that_cannot_be_told_is_a_warning(
    setup: Setup, control: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are written all the same; the line says what to do."""

    def fail(_client: object) -> bool:
        raise textfile.FileProblem("it hangs; run: broker restart")

    monkeypatch.setattr(background, "reload", fail)
    said = setup(f"--credential work --base-url {URL} --yes")
    assert said.code == 0
    assert "broker: warning: the running daemon keeps the old config: it hangs; run: broker restart" in said.err


@pytest.mark.parametrize("again", ["", "--undo"])
@pytest.mark.parametrize("crash_at", range(1, 4))
def test_a_crash_between_the_files_is_mended(
    setup: Setup,
    file: Path,
    folder: Path,
    *,
    control: Script,
    monkeypatch: pytest.MonkeyPatch,
    crash_at: int,
    again: str,
) -> None:
    """Stopped before the record, before the config or before the settings: a re-run or an undo makes it whole."""
    text = write(file, '{"a": 1}')
    config, real, count = folder / "config.toml", textfile.replace, [0]

    def crash(written: textfile.TextFile, content: str | None) -> None:
        count[0] += 1
        if count[0] == crash_at:
            raise KeyboardInterrupt
        real(written, content)

    with monkeypatch.context() as patched:
        patched.setattr(textfile, "replace", crash)
        assert setup(f"--credential work --base-url {URL} --yes").code == 130
    assert file.read_text() == text, "Claude Code is sent nowhere before the config has it"
    if not again:
        assert setup(f"--credential work --base-url {URL} --yes").code == 0
        assert read(file)["env"]["ANTHROPIC_BASE_URL"] == URL
        assert URL in config.read_text()
    for killed in (file, config):
        killed.with_name(f".{killed.name}.broker-new").write_text("half a file")
    setup("--undo")
    assert (file.read_text(), config.read_text()) == (text, CONFIG)
    assert not [*folder.rglob("*.broker-new")] or crash_at == 1, "without a record there is nothing to undo"


def test_an_undo_that_crashed_is_finished_by_another(
    setup: Setup, file: Path, folder: Path, control: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings first, then the config, then the record."""
    setup(f"--credential work --base-url {URL} --yes")
    real = textfile.replace

    def crash(written: textfile.TextFile, content: str | None) -> None:
        real(written, content)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(textfile, "replace", crash)
        assert setup("--undo").code == 130
    assert setup("--undo").code == 0
    assert not file.exists()
    assert (folder / "config.toml").read_text() == CONFIG


def test_a_config_edited_since_loses_only_our_url(setup: Setup, folder: Path, control: Script) -> None:
    """What the person added stays."""
    config = folder / "config.toml"
    setup(f"--credential work --base-url {URL} --yes")
    config.write_text(config.read_text() + '# mine\n[credentials.b]\nsource = "demo"\n')
    said = setup("--undo")
    assert (said.code, f"{config}: without what we wrote" in said.out) == (0, True)
    assert config.read_text() == CONFIG + '# mine\n[credentials.b]\nsource = "demo"\n'


def test_two_base_urls_in_a_row_are_both_taken_back(setup: Setup, file: Path, folder: Path, control: Script) -> None:
    """Undo goes back to before the first setup."""
    setup(f"--credential work --base-url {URL} --yes")
    setup("--credential work --base-url https://second.example --yes")
    assert (folder / "config.toml").read_text().count("https://") == 2
    setup("--undo")
    assert (folder / "config.toml").read_text() == CONFIG
    assert not file.exists()


def test_a_record_that_is_none_is_never_guessed_from(setup: Setup, file: Path, folder: Path, control: Script) -> None:
    """Bit rot or another version: one line, and the settings stay."""
    setup("--credential work")
    (kept,) = (folder / "state" / "setup").iterdir()
    for text in ("{", "[]", '{"version": 1}', kept.read_text().replace('"version": 1', '"version": 2')):
        kept.write_text(text)
        for options in ("--undo", "--credential work"):
            said = setup(options)
            assert (said.code, "no record of this version" in said.err) == (78, True)
    assert read(file)["apiKeyHelper"]


def test_no_home_at_all_is_one_line(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no place to look."""
    monkeypatch.delenv("HOME")
    said = setup("--credential work")
    assert (said.code, "neither HOME nor CLAUDE_CONFIG_DIR is set" in said.err) == (78, True)


def test_records_of_different_files_do_not_meet(tmp_path: Path) -> None:
    """User, project and local settings are undone each by itself."""
    names = {record.path_for(tmp_path / name, tmp_path) for name in ("a", "b", os.fsdecode(b"\xff"))}
    assert len(names) == 3
