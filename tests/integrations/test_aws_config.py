"""`broker.integrations.aws_config`: one line in a person's AWS config, and every other byte as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import ConfigError
from broker.integrations.aws_config import profiles, with_process, without_process

PATH = Path("/home/x/.aws/config")
COMMAND = "/opt/b/broker-helper --aws work"
LINE = f"credential_process = {COMMAND}\n"
TEXT = """\
# mine
[default]
region=us-east-1
s3 =
    max_concurrent_requests = 20
    # nested
    addressing_style = path

; about work
[profile work]
region : eu-west-1
output = json   # no comment to AWS

[sso-session corp]
sso_start_url = https://corp.example/start
[services local]
sts =
  endpoint_url = http://localhost:1

  # trailing
"""


@pytest.mark.parametrize(
    ("profile", "before", "after"),
    [
        ("work", TEXT, TEXT.replace("[profile work]\n", f"[profile work]\n{LINE}")),
        ("default", TEXT, TEXT.replace("[default]\n", f"[default]\n{LINE}")),
        ("new", TEXT, f"{TEXT}[profile new]\n{LINE}"),
        ("new", "", f"[profile new]\n{LINE}"),
        ("a b", '[profile "a b"]\nx = 1\n', f'[profile "a b"]\n{LINE}x = 1\n'),
        (
            "w",
            "[profile w]\ncredential_process=/old\n  more\nx=1\n",
            f"[profile w]\ncredential_process={COMMAND}\nx=1\n",
        ),
        ("w", "[profile w]\r\nx=1\r\n", f"[profile w]\r\n{LINE.strip()}\r\nx=1\r\n"),
    ],
)
def test_only_our_line_is_new(profile: str, before: str, after: str) -> None:
    """Comments, order, nested settings, line ends and odd headings stay."""
    got = with_process(before, PATH, profile, COMMAND)
    assert got.replace("credential_process = ", "credential_process=") == after.replace(
        "credential_process = ", "credential_process="
    )
    if "/old" not in before:
        assert without_process(got, PATH, profile, section_too=profile == "new") == before


@pytest.mark.parametrize(
    "text",
    [
        "[default]\nx=1\n[default]\ny=1\n",
        "x=1\n",
        "[profile w]\ncredential_process=a\ncredential_process=b\n",
        "\ufeff[default]\nx=1\n",
        "[unclosed\n",
    ],
)
def test_what_aws_programs_cannot_read_is_not_edited(text: str) -> None:
    """The line names the file and quotes nothing of it."""
    with pytest.raises(ConfigError, match=r"/home/x/.aws/config.*AWS's programs could not read this file"):
        with_process(text, PATH, "w", COMMAND)


def test_profiles_are_called_as_botocore_calls_them() -> None:
    """Other kinds of sections are none; in the file of keys every section is one."""
    assert set(profiles(TEXT, PATH)) == {"default", "work"}
    assert set(profiles("[work]\na=1\n[profile x]\nb=1\n[odd ' quote]\n", PATH, bare=True)) >= {"work", "profile x"}
    assert profiles("[odd ' quote]\nx=1\n[profile]\nx=1\n", PATH) == {}
