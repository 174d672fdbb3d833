"""`broker setup claude-code --provider ...`: which settings each way to a model takes, and how they go again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker import background
from broker.integrations import installed_helper
from broker.integrations.claude_code import settings
from tests.cli.conftest import Said, Type
from tests.fakes.control import Script

CONFIG = """\
[sources.corp]
type = "aws"
region = "eu-west-1"
[sources.google]
type = "gcp"
[credentials.cloud]
source = "corp"
[credentials.key]
source = "corp"
kind = "bedrock-api-key"
[credentials.vertex]
source = "google"
[credentials.work]
source = "env"
name = "X"
"""
SECRET = "fake-secret-1"
URL = "https://llm.example:4000"
SESSION = {
    "credential": "cloud",
    "kind": "aws-session",
    "expires_at": "2036-01-01T01:00:00Z",
    "access_key_id": "FAKEID",
    "secret_access_key": SECRET,
    "session_token": "fake-session-1",
}
FOUND = {
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:4711/v1/aws/cloud",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": "fake-consumer-1",
}
CONSUMER = {
    "set": FOUND,
    "unset": ["AWS_PROFILE", "AWS_ACCESS_KEY_ID"],
    "lasting": True,
    "problem": None,
}
METADATA = {"GCE_METADATA_HOST": "127.0.0.1:4712", "METADATA_SERVER_DETECTION": "assume-present"}
TTL = {"CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "300000"}
QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
BEDROCK = {"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "eu-west-1"}
VERTEX = {"CLAUDE_CODE_USE_VERTEX": "1", "CLOUD_ML_REGION": "global", "ANTHROPIC_VERTEX_PROJECT_ID": "p-1"}
PLACE = "--project p-1 --region global"

Setup = Callable[[str], Said]


@pytest.fixture(autouse=True)
def file(folder: Path, monkeypatch: pytest.MonkeyPatch, control: Script) -> Path:
    """Settle a developer whose daemon has every credential; give their settings file, which is not there yet."""
    (folder / "home").mkdir()
    (folder / "project").mkdir()
    for name in (
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
        "CLAUDE_CONFIG_DIR",
        "AWS_PROFILE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "CLOUDSDK_CONFIG",
        "AWS_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.chdir(folder / "project")
    monkeypatch.setattr(settings, "_MANAGED", folder / "managed.json")
    monkeypatch.setattr(background, "reload", lambda _client: True)
    (folder / "broker-helper").write_bytes(b"\x7fELF")
    monkeypatch.setattr(installed_helper, "path", lambda: folder / "broker-helper")
    (folder / "config.toml").write_text(CONFIG)
    (folder / "config.toml").chmod(0o600)
    control.raw["/v1/consumers"] = json.dumps(CONSUMER).encode()
    control.parts["cloud"] = dict(SESSION)
    control.parts["vertex"] = {"credential": "vertex", "kind": "access-token", "expires_at": None, "token": SECRET}
    control.tokens |= {"key": "fake-token-2", "vertex": "fake-token-3"}
    return folder / "home" / ".claude" / "settings.json"


@pytest.fixture
def setup(type_: Type) -> Setup:
    """Give `setup("--undo")`."""
    return lambda line: type_(f"setup claude-code {line}")


def write(file: Path, text: str) -> str:
    """Write settings as a person would; return them."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return text


def read(file: Path) -> dict[str, Any]:
    """Return what the settings say."""
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.parametrize(
    ("options", "helper", "env"),
    [
        ("bedrock --credential cloud", {"awsCredentialExport": "--aws cloud"}, BEDROCK),
        ("bedrock --credential cloud --via endpoint", {}, BEDROCK | FOUND),
        (
            "bedrock --credential key",
            {"apiKeyHelper": "key"},
            BEDROCK | TTL | QUIET | {"CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1"},
        ),
        (
            f"vertex --credential vertex {PLACE}",
            {"apiKeyHelper": "vertex"},
            VERTEX | TTL | QUIET | {"CLAUDE_CODE_SKIP_VERTEX_AUTH": "1"},
        ),
        (f"vertex --credential vertex {PLACE} --via metadata", {}, VERTEX | METADATA),
        (
            f"litellm --credential work --base-url {URL}/",
            {"apiKeyHelper": "work"},
            TTL | QUIET | {"ANTHROPIC_BASE_URL": f"{URL}/anthropic"},
        ),
        (
            f"litellm --credential work --base-url {URL}/anthropic --upstream bedrock",
            {"apiKeyHelper": "work"},
            TTL
            | QUIET
            | {
                "CLAUDE_CODE_USE_BEDROCK": "1",
                "CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1",
                "ANTHROPIC_BEDROCK_BASE_URL": f"{URL}/bedrock",
            },
        ),
        (
            f"litellm --credential work --base-url {URL} --upstream vertex {PLACE}",
            {"apiKeyHelper": "work"},
            TTL
            | QUIET
            | VERTEX
            | {"CLAUDE_CODE_SKIP_VERTEX_AUTH": "1", "ANTHROPIC_VERTEX_BASE_URL": f"{URL}/vertex_ai/v1"},
        ),
    ],
)
def test_each_way_has_its_settings_and_the_undo_takes_them_all(
    setup: Setup, file: Path, control: Script, *, options: str, helper: dict[str, str], env: dict[str, str]
) -> None:
    """And nothing else; no secret is among them, and none is shown."""
    folder = file.parents[2]
    if "metadata" in options:
        control.raw["/v1/consumers"] = json.dumps(CONSUMER | {"set": METADATA}).encode()
    text = write(file, '{\n  "model": "opus"\n}\n')
    config = (folder / "config.toml").read_text()
    said = setup(f"--provider {options} --ttl 5m --yes")
    assert (said.code, said.err) == (0, "")
    commands = {key: f"{folder}/broker-helper {arguments}" for key, arguments in helper.items()}
    assert read(file) == {"model": "opus", **commands, "env": env}
    assert SECRET not in said.out + file.read_text()
    assert "fake-consumer-1" not in said.out
    assert setup("--undo").code == 0
    assert file.read_text() == text
    assert (folder / "config.toml").read_text() == config


def test_another_provider_takes_back_what_the_one_before_wrote(setup: Setup, file: Path) -> None:
    """Whatever the order; a value of the person's that the first one replaced is theirs again; the undo knows all."""
    text = write(file, '{\n  "env": {"AWS_REGION": "us-west-2", "EDITOR": "vi"},\n  "model": "opus"\n}\n')
    assert setup("--provider bedrock --credential cloud --region eu-west-1 --yes").code == 0
    assert read(file)["env"] == {"AWS_REGION": "eu-west-1", "EDITOR": "vi", "CLAUDE_CODE_USE_BEDROCK": "1"}
    assert setup(f"--provider vertex --credential vertex {PLACE} --yes").code == 0
    helper = {"CLAUDE_CODE_SKIP_VERTEX_AUTH": "1", **TTL, **QUIET}
    assert read(file)["env"] == {"AWS_REGION": "us-west-2", "EDITOR": "vi"} | VERTEX | helper
    assert "awsCredentialExport" not in read(file)
    assert setup(f"--provider litellm --credential work --base-url {URL} --yes").code == 0
    assert setup("--provider anthropic --credential work --ttl 5m --yes").code == 0
    assert read(file)["env"] == {"AWS_REGION": "us-west-2", "EDITOR": "vi"} | TTL
    assert setup("--undo").code == 0
    assert file.read_text() == text


def test_another_way_of_the_same_provider_does_so_too(setup: Setup, file: Path, folder: Path) -> None:
    """A person's own `awsCredentialExport` would win over the endpoint: it goes by consent, and comes back."""
    text = write(file, '{"awsCredentialExport": "/bin/cat keys"}')
    said = setup("--provider bedrock --credential cloud --via endpoint")
    assert (said.code, said.err) == (64, "broker: awsCredentialExport is /bin/cat now; to go on: --yes\n")
    assert setup("--provider bedrock --credential cloud --via endpoint --yes").code == 0
    assert "awsCredentialExport" not in read(file)
    assert setup("--provider bedrock --credential cloud --yes").code == 0
    assert read(file) == {"awsCredentialExport": f"{folder}/broker-helper --aws cloud", "env": BEDROCK}
    assert setup("--provider bedrock --credential cloud").out.startswith(f"{file}: set up already\n")
    assert setup("--provider anthropic --credential work").code == 0
    assert read(file)["awsCredentialExport"] == "/bin/cat keys"
    write(file, file.read_text().replace('"awsCredentialExport"', '"model": "x", "awsCredentialExport"'))
    assert setup("--undo").code == 0
    assert read(file) == {"model": "x", "awsCredentialExport": "/bin/cat keys"}
    write(file, text)


def test_a_removed_setting_comes_back_though_the_file_was_edited(setup: Setup, file: Path) -> None:
    """What was taken out is put back; what a person put in its place stays, and is told."""
    write(file, '{"awsCredentialExport": "/bin/cat keys"}')
    setup("--provider bedrock --credential cloud --via endpoint --yes")
    write(file, file.read_text().replace('{"env"', '{"model": "x", "env"'))
    assert setup("--undo").code == 0
    assert read(file) == {"model": "x", "awsCredentialExport": "/bin/cat keys"}
    setup("--provider bedrock --credential cloud --via endpoint --yes")
    write(file, file.read_text().replace('{"model"', '{"awsCredentialExport": "new", "model"'))
    said = setup("--undo")
    assert (said.code, "awsCredentialExport in" in said.err) == (1, True)
    assert read(file) == {"awsCredentialExport": "new", "model": "x"}


def test_what_would_win_is_emptied_wherever_it_is_set(
    setup: Setup, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty value in the settings goes before the shell's (measured); the undo brings a person's own back."""
    text = write(file, f'{{"env": {{"AWS_BEARER_TOKEN_BEDROCK": "{SECRET}"}}}}')
    monkeypatch.setenv("CLAUDE_CODE_SKIP_BEDROCK_AUTH", "1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_PROFILE", "other")
    said = setup("--provider bedrock --credential cloud")
    assert (said.code, "AWS_BEARER_TOKEN_BEDROCK is set now; to go on: --yes" in said.err) == (64, True)
    said = setup("--provider bedrock --credential cloud --yes")
    assert said.code == 0
    emptied = {"AWS_BEARER_TOKEN_BEDROCK": "", "CLAUDE_CODE_SKIP_BEDROCK_AUTH": ""}
    assert read(file)["env"] == BEDROCK | emptied
    assert SECRET not in said.out + said.err
    assert setup("--provider bedrock --credential cloud --via endpoint --yes").code == 0
    more = {"AWS_ACCESS_KEY_ID": "", "AWS_PROFILE": ""}
    assert read(file)["env"] == BEDROCK | emptied | more | FOUND
    assert setup("--undo").code == 0
    assert file.read_text() == text


def test_where_things_go_is_taken_from_what_is_there(
    setup: Setup, file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The region of the source, else of the settings, else of the shell; a base URL that is there stays."""
    (folder / "config.toml").write_text(CONFIG.replace('region = "eu-west-1"\n', ""))
    assert "needs the region" in setup("--provider bedrock --credential cloud").err
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
    assert setup("--provider bedrock --credential cloud").code == 0
    assert read(file)["env"]["AWS_REGION"] == "us-east-2"
    assert setup("--undo").code == 0
    write(file, f'{{"env": {{"AWS_REGION": "us-west-1", "ANTHROPIC_BEDROCK_BASE_URL": "{URL}"}}}}')
    said = setup("--provider bedrock --credential cloud")
    assert read(file)["env"]["AWS_REGION"] == "us-west-1"
    assert "the audience guard would give no key out" in said.err


def test_a_region_of_the_shell_cannot_lead_elsewhere(
    setup: Setup, file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It becomes part of the address that the credential would be released for."""
    (folder / "config.toml").write_text(CONFIG.replace('region = "eu-west-1"\n', ""))
    monkeypatch.setenv("AWS_REGION", "x.evil.example/")
    said = setup("--provider bedrock --credential cloud --yes")
    assert (said.code, "--region: what is set there" in said.err) == (64, True)
    assert not file.exists()


def test_files_that_win_over_an_endpoint_are_named(setup: Setup, folder: Path, control: Script) -> None:
    """No variable keeps a default profile with keys, or gcloud's own sign-in, from being taken first."""
    (folder / "home" / ".aws").mkdir()
    (folder / "home" / ".aws" / "credentials").write_text(f"[default]\naws_access_key_id = {SECRET}\n")
    said = setup("--provider bedrock --credential cloud --via endpoint --yes")
    assert "profile default in" in said.err
    assert "has aws_access_key_id, which wins over the endpoint; use --via export" in said.err
    assert "wins over" not in setup("--provider bedrock --credential cloud --via export --yes").err
    (folder / "home" / ".config" / "gcloud").mkdir(parents=True)
    (folder / "home" / ".config" / "gcloud" / "application_default_credentials.json").write_text(SECRET)
    control.raw["/v1/consumers"] = json.dumps(CONSUMER | {"set": {"GCE_METADATA_HOST": "127.0.0.1:1"}}).encode()
    said = setup(f"--provider vertex --credential vertex {PLACE} --via metadata --yes")
    assert "application_default_credentials.json wins over the metadata server; use --via helper" in said.err
    assert SECRET not in said.err


def test_an_address_is_released_in_the_config(setup: Setup, file: Path, folder: Path) -> None:
    """For any provider, after it was shown; the provider's own endpoints need no word."""
    assert setup("--provider bedrock --credential cloud").code == 0
    assert (folder / "config.toml").read_text() == CONFIG
    said = setup(f"--provider bedrock --credential cloud --base-url {URL}")
    assert f"credential cloud will be released for {URL} and no longer for" in said.err
    assert setup(f"--provider bedrock --credential cloud --base-url {URL} --yes").code == 0
    assert read(file)["env"]["ANTHROPIC_BEDROCK_BASE_URL"] == URL
    assert f'audience = ["{URL}"]' in (folder / "config.toml").read_text()


def test_a_token_that_the_guard_would_keep_back_there_is_named(setup: Setup, file: Path) -> None:
    """A token of Google's is meant for Vertex: without a base URL it would go to Anthropic as an API key."""
    said = setup("--credential vertex")
    assert "the audience guard would give no key out: no setting names ANTHROPIC_BASE_URL" in said.err
    assert file.exists()


def test_models_and_headers_are_set_where_given(setup: Setup, file: Path) -> None:
    """A gateway may want its own names, and headers that say whose request it is."""
    models = "--model sonnet --small-fast-model us.anthropic.claude-haiku-4-5-20251001-v1:0"
    headers = "--header 'x-litellm-tags: claude,dev' --header 'X-Team: core'"
    assert setup(f"--provider litellm --credential work --base-url {URL} {models} {headers} --yes").code == 0
    assert {name: value for name, value in read(file)["env"].items() if name.startswith("ANTHROPIC_")} == {
        "ANTHROPIC_BASE_URL": f"{URL}/anthropic",
        "ANTHROPIC_MODEL": "sonnet",
        "ANTHROPIC_SMALL_FAST_MODEL": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "ANTHROPIC_CUSTOM_HEADERS": "x-litellm-tags: claude,dev\nX-Team: core",
    }


def test_a_token_in_the_settings_is_named(setup: Setup, file: Path) -> None:
    """Setup writes no ANTHROPIC_AUTH_TOKEN, and says that the one there wins over the helper."""
    write(file, f'{{"env": {{"ANTHROPIC_AUTH_TOKEN": "{SECRET}"}}}}')
    said = setup(f"--provider litellm --credential work --base-url {URL} --yes")
    assert f"ANTHROPIC_AUTH_TOKEN in the env of {file} wins over the helper" in said.err
    said = setup("--provider bedrock --credential cloud --yes")
    assert "ANTHROPIC_AUTH_TOKEN" not in said.err, "it has no say at Bedrock"


def test_another_providers_switch_is_named(setup: Setup, file: Path) -> None:
    """Claude Code would use that one."""
    write(file, '{"env": {"CLAUDE_CODE_USE_FOUNDRY": "1"}}')
    said = setup("--provider bedrock --credential cloud --yes")
    assert "CLAUDE_CODE_USE_FOUNDRY in the env of" in said.err
    assert "makes Claude Code use another provider than the one set up here" in said.err


def test_what_does_not_last_or_work_yet_is_told(setup: Setup, control: Script) -> None:
    """No key at rest; keys without a session, which Claude Code takes from no command; a source that fails."""
    control.raw["/v1/consumers"] = json.dumps(CONSUMER | {"lasting": False}).encode()
    assert "there is no key at rest" in setup("--provider bedrock --credential cloud --via endpoint").err
    control.parts["cloud"] = SESSION | {"session_token": "", "expires_at": None}
    said = setup("--provider bedrock --credential cloud")
    assert (said.code, "cloud has keys without a session" in said.err) == (0, True)
    assert (
        "cloud: a credential is there (no expiry)" in setup("--provider bedrock --credential cloud --via endpoint").out
    )
    control.errors["/v1/credentials/cloud"] = (401, "needs-login", "sign in; run: broker login corp")
    said = setup("--provider bedrock --credential cloud")
    assert (said.code, "cloud gives no credential yet: sign in; run: broker login corp" in said.err) == (0, True)


def test_a_dry_run_makes_no_consumer(setup: Setup, file: Path, control: Script) -> None:
    """And fetches nothing."""
    said = setup("--provider bedrock --credential cloud --via endpoint --dry-run")
    assert (said.code, "asked of the daemon" in said.out) == (0, True)
    assert control.asks == []
    assert not file.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--provider vertex --credential vertex --region global", "--project PROJECT_ID"),
        ("--provider vertex --credential vertex --project p-1", "--region global, or such as us-east5"),
        ("--provider bedrock --credential cloud --region EU/1", "expected such as us-east-1"),
        (
            "--provider bedrock --credential cloud --via bearer",
            "cloud is of kind aws-session, and bedrock/bearer needs",
        ),
        (
            "--provider bedrock --credential key --via export",
            "key is of kind bedrock-api-key, and bedrock/export needs",
        ),
        ("--provider bedrock --credential key --region us-east-1", "key is a key for eu-west-1 alone"),
        ("--credential cloud", "cloud is of kind aws-session"),
        (
            "--provider bedrock --credential cloud --via endpoint --scope project",
            "shared through git; use --scope local",
        ),
        ("--provider bedrock --credential cloud --via metadata", "--provider bedrock: one of export, endpoint, bearer"),
        (
            f"--provider vertex --credential work {PLACE} --via metadata --yes",
            "work is not served at [endpoints.gcp], where vertex/metadata looks for it",
        ),
        ("--credential work --via helper", "--provider anthropic: without --via"),
        ("--credential work --upstream bedrock", "--upstream goes with --provider litellm"),
        ("--provider bedrock --region us-east-1 --credential brandnew", '[sources.aws] with type = "aws"'),
        ("--credential work --model 'a b'", "expected such as claude-sonnet-4-5"),
        (f"--credential work --header 'Authorization: {SECRET}'", "--header: Authorization looks like a secret"),
        (f"--credential work --header 'x-litellm-api-key: {SECRET}'", "looks like a secret"),
        ("--credential work --header 'X-Team: sk-fake-secret-1'", "--header: X-Team looks like a secret"),
        (f"--credential work --header '{SECRET}'", "--header: expected 'Name: value'"),
    ],
)
def test_what_does_not_go_together_is_one_line(setup: Setup, file: Path, options: str, said: str) -> None:
    """Exit code 64, nothing is changed, and no secret is repeated."""
    answer = setup(options)
    assert answer.code == 64
    assert said in answer.err
    assert answer.err.count("\n") == 1
    assert SECRET not in answer.err
    assert not file.exists()


@pytest.mark.slow
def test_a_stored_key_of_bedrock_can_be_a_first_credential(setup: Setup, file: Path, folder: Path) -> None:
    """A long-term API key from the console goes into the broker's store, like an Anthropic key."""
    (folder / "config.toml").unlink()
    said = setup("--provider bedrock --region us-east-1 --via bearer --credential bedrock --yes")
    assert said.code == 0
    text = (folder / "config.toml").read_text()
    assert '[credentials.bedrock]\nsource = "local"' in text
    assert 'audience = ["https://bedrock-runtime.us-east-1.amazonaws.com"]' in text
    assert read(file)["apiKeyHelper"].endswith("broker-helper bedrock")
