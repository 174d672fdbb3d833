"""ProxyCast's provider file: every feature of it, and files that are none."""

from __future__ import annotations

import time

import pytest

from broker.integrations.importing.found import Reading
from tests.integrations.importing.reading import only, plain, problem, read

KEY = "fake-key-1"


def proxycast(text: str) -> Reading:
    """Read one."""
    return read("proxycast", text)


@pytest.mark.parametrize(
    "text",
    [
        f"providers:\n- name: one\n  type: claude-custom\n  api_key: {KEY}\n",
        f"providers:\n  one:\n    type: claude-custom\n    api_key: '{KEY}'\n",
        f"one:\n  type: claude-custom\n  api_key: {KEY}\n",
        f"- name: one\n  api_key: {KEY}\n",
        f"claude-custom:\n  type: claude-custom\nproviders: [{{name: one, api_key: {KEY}}}]\n",
        f"# {KEY}\n---\none: {{api_key: {KEY}}} # fake-comment\n...\n",
    ],
)
def test_a_provider_is_found_in_each_form_that_they_are_written_in(text: str) -> None:
    """By its name; a key for Anthropic's own endpoint needs no audience; nothing of comments is carried anywhere."""
    reading = proxycast(text)
    found = only(reading)
    assert (found.name, plain(found.key), found.source, found.credential) == ("one", f"<{KEY}>", None, {})
    assert not reading.remarks


def test_a_key_outside_of_every_provider_has_the_types_name() -> None:
    """As where there is only one."""
    found = only(proxycast(f"claude-custom:\n  api_key: {KEY}\n"))
    assert (found.name, plain(found.key)) == ("claude-custom", f"<{KEY}>")


@pytest.mark.parametrize(
    ("url", "audience"),
    [
        ("https://p.example", ["https://p.example"]),
        ("https://p.example:8443/llm/", ["https://p.example:8443/llm"]),
        ("https://p.example/v1", ["https://p.example"]),
        ("https://api.anthropic.com/v1/", None),
        ("", None),
        ("null", None),
    ],
)
def test_a_base_url_becomes_the_audience(url: str, audience: list[str] | None) -> None:
    """Without the /v1 that Claude Code adds itself."""
    found = only(proxycast(f"one: {{api_key: {KEY}, base_url: '{url}'}}"))
    assert found.credential.get("audience") == audience


def test_bedrock_keys_become_an_aws_source() -> None:
    """The secret one by reference; and the model is told as what sets it."""
    found = only(
        proxycast(
            "b: {type: claude-custom, aws_region: us-east-1, aws_access_key: AKIAFAKEFAKEFAKE0001,"
            " aws_secret_key: fake/secret, model_id: 'anthropic.claude-3:0'}"
        )
    )
    assert plain(found.source) == {
        "type": "aws",
        "region": "us-east-1",
        "access_key_id": "AKIAFAKEFAKEFAKE0001",
        "secret_access_key": "<fake/secret>",
        "get_session_token": True,  # else the setup that is suggested could not work
    }
    assert found.notes == (
        "broker setup claude-code --credential NAME --provider bedrock --region us-east-1 --model anthropic.claude-3:0",
    )


def test_an_iam_role_becomes_an_aws_source_without_keys() -> None:
    """Found as ProxyCast found it; the answer says so."""
    found = only(proxycast("b: {type: claude-custom, aws_region: us-east-1, model_id: m}"))
    assert found.source == {"type": "aws", "region": "us-east-1"}
    assert "IAM role" in found.about


def test_what_claude_code_does_itself_is_told_with_what_does_it() -> None:
    """Once where all providers share it; header values may be secrets and are not shown."""
    reading = proxycast(
        "claude-custom:\n  api_version: 2024-01-01\n  timeout: {connect: 10s, request: 3m}\n"
        f"providers:\n- {{name: one, api_key: {KEY}, model_id: m-1, headers: {{X-Team: fake-header}}, colour: red}}\n"
        f"- {{name: two, api_key: {KEY}, enabled: false, api_version: 2023-06-01, timeout: 5}}\n"
    )
    assert reading.remarks == (
        "all providers: api_version, as Claude Code always says 2023-06-01",
        'all providers: timeout, as Claude Code has its own: "API_TIMEOUT_MS": "180000" in the `env` of its settings',
        "one: the headers X-Team; Claude Code sends them by --header of: broker setup claude-code",
        "one: colour, not known here",
        "two: that it is switched off; take it out of the config, or out of the pool, by hand",
        "two: timeout, as Claude Code has its own: API_TIMEOUT_MS in the `env` of its settings",
    )
    assert reading.found[0].notes == ("broker setup claude-code --credential NAME --model m-1",)


def test_every_key_is_told_with_the_command_that_puts_it_to_use() -> None:
    """With the place that it is for: without it Claude Code would ask Anthropic, and get no key for that."""
    found = only(proxycast(f"p: {{type: claude-custom, api_key: {KEY}, base_url: 'https://p.example/claude/v1'}}"))
    assert found.notes == ("broker setup claude-code --credential NAME --base-url https://p.example/claude",)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("{type: openai-custom, api_key: k}", "its type openai-custom is none that Claude Code has keys of"),
        ("{api_key: 'fake key'}", "its key has blanks"),
        ("{api_key: fake-key, base_url: 'https://fake-user:pw@p.example'}", "its base URL cannot be an audience"),
        ("{type: claude-custom}", "it has neither an api_key nor anything of AWS's"),
        ("{aws_access_key: AKIAFAKEFAKEFAKE0001}", "of access key and secret key one is missing"),
        ("{aws_access_key: 'fakeSECRETkey0123456789/0123456789', aws_secret_key: k}", "its access key is no ID"),
        ("{aws_access_key: AKIAFAKEFAKEFAKE0001, aws_secret_key: 'a b'}", "its secret_access_key has blanks"),
    ],
)
def test_a_provider_that_cannot_be_carried_keeps_no_other_out(entry: str, why: str) -> None:
    """It is told with the reason, and without any of its values."""
    reading = proxycast(f"providers:\n- {{name: good, api_key: {KEY}}}\nbad: {entry}\n")
    assert only(reading).name == "good"
    (remark,) = reading.remarks
    assert remark.startswith(f"bad: {why}")
    assert "fake" not in remark


_STORE = "give its value to: broker secret set bad; then: broker setup claude-code --credential bad"
_FILL_IN = "put its value into the file, and import it again"


@pytest.mark.parametrize(
    ("entry", "what", "mend"),
    [
        ("{api_key: '${FAKE_KEY}'}", "its key", _STORE),
        ("{api_key: '${FAKE_KEY:-none}'}", "its key", _STORE),
        ("{api_key: $FAKE_KEY}", "its key", _STORE),
        (
            "{api_key: os.environ/FAKE_KEY, base_url: 'https://p.example'}",
            "its key",
            f"{_STORE} --base-url https://p.example",
        ),
        (f"{{api_key: {KEY}, base_url: os.environ/FAKE_KEY}}", "its base URL", _FILL_IN),
        ("{aws_access_key: '${FAKE_KEY}', aws_secret_key: k}", "its access key", _FILL_IN),
        ("{aws_access_key: AKIAFAKEFAKEFAKE0001, aws_secret_key: '${FAKE_KEY}'}", "its secret_access_key", _FILL_IN),
    ],
)
def test_what_only_names_a_variable_is_told_with_what_to_do(entry: str, what: str, mend: str) -> None:
    """Which variable, and the command, or the line for the config; its name is never taken for the value."""
    (remark,) = proxycast(f"providers:\n- {{name: good, api_key: {KEY}}}\nbad: {entry}\n").remarks
    assert remark.startswith(f"bad: {what} is a reference to a variable, FAKE_KEY, and not here; {mend}")
    assert ('secret_access_key = { env = "FAKE_KEY" }' in remark) == ("secret" in what)


def test_a_name_that_may_be_a_key_is_not_shown() -> None:
    """A slip that happens: the key where the name belongs."""
    reading = proxycast("providers: [{name: sk-ant-fake-1}, 7]\nsk-ant-fake-2: 1\n")
    assert len(reading.remarks) == 3
    assert "fake" not in " ".join(reading.remarks)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no provider in it"),
        ("just text", "no provider in it"),
        ("[1, 2]", "no provider in it"),
        ("a: [fake-secret", ", line 1: not valid YAML"),
        ("a: 1\na: 2\n", ", line 2: this key is there twice"),
        ("? [a]\n: 1\n", ", line 1: this key is no text"),
        ("a: &x {api_key: k}\nb: *x\n", ", line 2: a YAML alias"),
        ("a: 1\n---\nb: 2\n", ", line 2: not valid YAML"),
        ("a: !!python/object/apply:os.system [true]\n", "no provider in it"),
        ("a: \x00", "not valid YAML"),
        ("\n[" * 100_000, ", line 34: nested too deep"),
        ("#" * 300_000, "larger than 256 KiB"),
    ],
)
def test_what_is_no_such_file_is_told_in_a_line(text: str, why: str) -> None:
    """With where, as far as that is known; and quoting nothing."""
    told = problem("proxycast", text)
    assert told.startswith(why)
    assert "fake" not in told


def test_a_bomb_of_aliases_costs_nothing() -> None:
    """Nine levels of nine would stand for 400 million entries."""
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 10))
    began = time.monotonic()
    assert ", line 2: a YAML alias" in problem("proxycast", "l0: &l0 [x]\n" + levels)
    assert time.monotonic() - began < 2
