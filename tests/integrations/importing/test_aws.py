"""AWS's shared files: profiles with keys, the roles that begin with them, and what stays where it is."""

from __future__ import annotations

from typing import Any

import pytest

from broker.integrations.importing.found import Reading
from tests.integrations.importing.reading import plain, problem, read

KEYS = "aws_access_key_id = AKIAFAKEFAKEFAKE0001\naws_secret_access_key = fake/secret+1\n"
HELD = {"access_key_id": "AKIAFAKEFAKEFAKE0001", "secret_access_key": "<fake/secret+1>"}
ONE, TWO = "arn:aws:iam::111111111111:role/one", "arn:aws:iam::222222222222:role/two"


def aws(text: str) -> Reading:
    """Read one."""
    return read("aws", text)


def sources(text: str) -> dict[str, Any]:
    """Return every profile's source."""
    return {found.name: plain(found.source) for found in aws(text).found}


def test_a_profile_with_keys_becomes_a_source() -> None:
    """With its region, and a session token by reference; a temporary one is told."""
    text = f"[default]\n{KEYS}region = us-east-1\n[temp]\n{KEYS}aws_session_token = fake-token\n"
    assert sources(text) == {
        "default": {"type": "aws", **HELD, "region": "us-east-1"},
        "temp": {"type": "aws", **HELD, "session_token": "<fake-token>"},
    }
    assert ["end within hours" in found.about for found in aws(text).found] == [False, True]


def test_the_command_that_puts_a_profile_to_use_is_told() -> None:
    """It then asks the broker; one whose name no shell takes as a word is left to the person."""
    found = aws(f"[dev]\n{KEYS}[a; b]\n{KEYS}").found
    assert [each.notes for each in found] == [("broker setup aws --credential NAME --profile dev",), ()]


def test_roles_in_a_chain_keep_their_order() -> None:
    """The keys first, roles on the way, and last the profile's own with its parameters."""
    text = (
        f"[profile base]\n{KEYS}region = eu-west-1\n[profile hub]\nrole_arn = {ONE}\nsource_profile = base\n"
        f"[profile leaf]\nrole_arn = {TWO}\nsource_profile = hub\nexternal_id = x-1\nduration_seconds = 900\n"
        "role_session_name = me\n"
    )
    assert sources(text)["leaf"] == {
        "type": "aws",
        **HELD,
        "region": "eu-west-1",
        "via": [{"role_arn": ONE}],
        "role_arn": TWO,
        "external_id": "x-1",
        "role_session_name": "me",
        "duration": "900s",
    }


def test_a_role_may_begin_with_its_own_keys_the_machines_or_another_files() -> None:
    """As the SDKs allow it."""
    text = (
        f"[own]\n{KEYS}role_arn = {ONE}\nsource_profile = own\n"
        f"[machine]\nrole_arn = {ONE}\ncredential_source = Ec2InstanceMetadata\n"
        f"[elsewhere]\nrole_arn = {ONE}\nsource_profile = other\n"
    )
    assert sources(text) == {
        "own": {"type": "aws", **HELD, "role_arn": ONE},
        "machine": {"type": "aws", "role_arn": ONE},
        "elsewhere": {"type": "aws", "profile": "other", "role_arn": ONE},
    }


@pytest.mark.parametrize(
    ("profile", "why"),
    [
        ("region = us-east-1\n", "it has no keys"),
        ("aws_access_key_id = AKIAFAKEFAKEFAKE0001\n", "of access key and secret key one is missing"),
        (f"role_arn = {ONE}\nsource_profile = bad\n", "its source_profile comes back to itself"),
        (f"role_arn = {ONE}\nsource_profile = good\nmfa_serial = arn:fake\n", "it wants MFA"),
        (f"{KEYS}mfa_serial = arn:fake\n", "it wants MFA"),
        ("credential_process = /bin/fake\n", "keys of a program"),
        ("sso_session = fake\n", "a sign-in by SSO"),
    ],
)
def test_what_stays_where_it_is_keeps_no_other_out(profile: str, why: str) -> None:
    """It is told with the reason, and without any of its values."""
    reading = aws(f"[bad]\n{profile}[good]\n{KEYS}")
    assert [found.name for found in reading.found] == ["good"]
    (remark,) = reading.remarks
    assert remark.startswith(f"profile bad: {why}")
    assert "fake" not in remark


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no profile in it"),
        ("# [default]", "no profile in it"),
        ("fake-secret = 1", ":1: AWS's programs could not read this file"),
        ("[a]\nfake-secret\n goes on = 1\n", ": AWS's programs could not read this file"),
        (f"[a]\n{KEYS}[a]\n", ":4: AWS's programs could not read this file"),
    ],
)
def test_what_is_no_such_file_is_told_in_a_line(text: str, why: str) -> None:
    """Quoting nothing of it."""
    assert problem("aws", text).startswith(why.removeprefix(": "))
