"""A `.env` file: what of it becomes a credential, and that nothing in it is run or replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.integrations.importing.found import Reading
from tests.integrations.importing.reading import only, plain, problem, read

AWS = "AWS_ACCESS_KEY_ID=AKIAFAKEFAKEFAKE0001\nAWS_SECRET_ACCESS_KEY=fake-secret\n"


def dotenv(text: str) -> Reading:
    """Read one."""
    return read("dotenv", text)


@pytest.mark.parametrize(
    "line",
    ["ANTHROPIC_API_KEY=fake-1", "export ANTHROPIC_API_KEY='fake-1'", 'ANTHROPIC_API_KEY = "fake-1" # fake-comment'],
)
def test_anthropics_key_is_found_however_it_is_written(line: str) -> None:
    """As other programs read such a file."""
    found = only(dotenv(line))
    assert (found.name, plain(found.key), found.credential) == ("anthropic", "<fake-1>", {})


def test_a_base_url_holds_for_both_of_anthropics_variables() -> None:
    """One that cannot be used keeps the other ones in; models are told as what sets them."""
    reading = dotenv(
        "ANTHROPIC_API_KEY=fake 1\nANTHROPIC_AUTH_TOKEN=fake-2\nANTHROPIC_BASE_URL=https://l.example/anthropic\n"
        "ANTHROPIC_MODEL=m-1\nANTHROPIC_SMALL_FAST_MODEL=m-2\n"
    )
    found = only(reading)
    assert (found.name, found.credential) == ("anthropic-token", {"audience": ["https://l.example/anthropic"]})
    setup = "broker setup claude-code --credential NAME --base-url https://l.example/anthropic"
    assert found.notes == (f"{setup} --model m-1 --small-fast-model m-2",)
    assert reading.remarks == ("ANTHROPIC_API_KEY: its key has blanks, line ends or control characters in it",)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (AWS + "AWS_REGION=us-east-1", {"region": "us-east-1", "get_session_token": True}),
        (
            AWS + "AWS_DEFAULT_REGION=us-west-2\nAWS_SESSION_TOKEN=fake-t",
            {"region": "us-west-2", "session_token": "<fake-t>"},
        ),
        (AWS + "AWS_PROFILE=other", {"get_session_token": True}),
    ],
)
def test_aws_keys_become_a_source(text: str, source: dict[str, object]) -> None:
    """They win over a profile, as with the SDKs; Claude Code takes from a command only a session's."""
    keys = {"type": "aws", "access_key_id": "AKIAFAKEFAKEFAKE0001", "secret_access_key": "<fake-secret>"}
    assert plain(only(dotenv(text)).source) == keys | source


def test_aws_without_keys_is_a_profile_or_a_workloads_role() -> None:
    """Neither has a secret in this file."""
    assert only(dotenv("AWS_PROFILE=corp")).source == {"type": "aws", "profile": "corp"}
    workload = "AWS_ROLE_ARN=arn:aws:iam::111111111111:role/r\nAWS_WEB_IDENTITY_TOKEN_FILE=/t\nAWS_ROLE_SESSION_NAME=me"
    assert only(dotenv(workload)).source == {
        "type": "aws",
        "web_identity_token": {"file": "/t"},
        "role_arn": "arn:aws:iam::111111111111:role/r",
        "role_session_name": "me",
    }


def test_keys_that_end_soon_are_told() -> None:
    """They had better come from a role."""
    assert "end within hours" in only(dotenv(AWS + "AWS_SESSION_TOKEN=fake")).about


def test_a_bedrock_key_is_for_its_region_alone() -> None:
    """It is good nowhere else."""
    found = only(dotenv("AWS_BEARER_TOKEN_BEDROCK=fake\nAWS_REGION=us-east-1"))
    assert found.credential == {"audience": ["https://bedrock-runtime.us-east-1.amazonaws.com"]}
    setup = "broker setup claude-code --credential NAME --provider bedrock --via bearer --region us-east-1"
    assert found.notes == (setup,)
    assert dotenv("AWS_BEARER_TOKEN_BEDROCK=fake").remarks == (
        "AWS_BEARER_TOKEN_BEDROCK: without AWS_REGION nobody knows where it is good",
    )


@pytest.mark.parametrize(
    "where", ["LITELLM_BASE_URL=https://l.example:4000/", "ANTHROPIC_BASE_URL=https://l.example:4000/anthropic"]
)
def test_litellms_keys_are_for_their_proxy(where: str) -> None:
    """The master key makes keys, and is handed out to nobody."""
    reading = dotenv(f"LITELLM_MASTER_KEY=fake-m\nLITELLM_API_KEY=fake-v\n{where}")
    virtual, made = reading.found
    assert (plain(virtual.key), virtual.credential) == ("<fake-v>", {"audience": ["https://l.example:4000"]})
    assert plain(made.source) == {"type": "litellm", "base_url": "https://l.example:4000", "master_key": "<fake-m>"}
    assert made.key is None
    setup = "broker setup claude-code --credential NAME --base-url https://l.example:4000 --provider litellm"
    assert (virtual.notes, made.notes) == ((setup,), (setup,))


@pytest.mark.parametrize(
    "where", ["", "ANTHROPIC_BASE_URL=https://api.anthropic.com\n", "LITELLM_BASE_URL=http://u:fake@l\n"]
)
def test_litellms_keys_without_a_proxy_are_told(where: str) -> None:
    """Nobody knows where to send them."""
    reading = dotenv(f"LITELLM_MASTER_KEY=fake-m\nLITELLM_API_KEY=fake-v\n{where}")
    assert not reading.found
    assert len(reading.remarks) == 2
    assert "fake" not in " ".join(reading.remarks)


def test_a_proxy_without_tls_is_said_in_the_config() -> None:
    """As a `litellm` source wants it said."""
    found = only(dotenv("LITELLM_MASTER_KEY=fake\nLITELLM_BASE_URL=http://l.example:4000"))
    assert found.source is not None
    assert found.source["allow_http"] is True
    assert dotenv("LITELLM_MASTER_KEY='a b'\nLITELLM_BASE_URL=http://l.example").remarks == (
        "LITELLM_MASTER_KEY: it has blanks, line ends or control characters in it",
    )


def test_nothing_in_it_is_run_or_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shell would make of a value is none of its text."""
    monkeypatch.setenv("FAKE", "fake-from-env")
    proof = tmp_path / "proof"
    reading = dotenv(f"ANTHROPIC_API_KEY=$(touch${{IFS}}{proof})\nANTHROPIC_AUTH_TOKEN=${{FAKE}}\nA=b\n")
    assert not proof.exists()
    assert not reading.found
    assert all("reference to a variable" in remark for remark in reading.remarks[:2])


def test_a_master_key_that_only_names_a_variable_is_told_with_its_line() -> None:
    """A source of its own reads it where it is."""
    reading = dotenv("LITELLM_MASTER_KEY=os.environ/OTHER\nLITELLM_BASE_URL=https://l.example\n")
    assert not reading.found
    assert 'base_url = "https://l.example", master_key = { env = "OTHER" }' in reading.remarks[0]


def test_what_signs_in_elsewhere_is_told_where() -> None:
    """And how many others there are, by their names alone."""
    others = "".join(f"VAR_{number}=fake\n" for number in range(10))
    reading = dotenv(f"CLAUDE_CODE_OAUTH_TOKEN=fake\nVAULT_TOKEN=fake\n{others}")
    assert [remark.partition(":")[0] for remark in reading.remarks[:2]] == ["CLAUDE_CODE_OAUTH_TOKEN", "VAULT_TOKEN"]
    assert reading.remarks[2].endswith("VAR_7 and 2 more: nothing that Claude Code signs in with")
    assert "fake" not in " ".join(reading.remarks)


@pytest.mark.parametrize("text", ["", "# only a comment", "fake-secret alone", "\x00\x01"])
def test_what_is_no_such_file_is_told(text: str) -> None:
    """Quoting nothing, also not on stderr."""
    assert problem("dotenv", text).startswith("no variable in it")
