"""What Claude Code would take from its settings: which file wins, and what is not known from outside."""

from __future__ import annotations

import json

import pytest

from tests.doctor.conftest import CONFIG, Patient
from tests.fakes.control import credential_status

TTL = "CLAUDE_CODE_API_KEY_HELPER_TTL_MS"


def codes(patient: Patient) -> set[str]:
    """Ask the doctor for the codes of what is wrong."""
    return {found.code for _, found in patient.examine().findings if found.severity}


@pytest.mark.parametrize("stronger", ["managed", "local", "project"])
def test_the_strongest_file_names_the_helper(stronger: str, patient: Patient) -> None:
    """An administrator's before the project's own, the person's local before the shared one, the user's last."""
    managed = patient.folder / "managed"
    managed.mkdir()
    places = {
        "managed": managed / "managed-settings.json",
        "local": patient.project / ".claude" / "settings.local.json",
        "project": patient.project / ".claude" / "settings.json",
    }
    (patient.project / ".claude").mkdir()
    below = list(places)[list(places).index(stronger) :]
    for name in below:
        places[name].write_text(json.dumps({"apiKeyHelper": f"echo {name}"}))
    assert patient.found("helper-overridden").mend == f"take apiKeyHelper out of {places[stronger]}"


def test_a_slip_in_a_credentials_name_is_told_without_quoting_it(patient: Patient) -> None:
    """What stands there could be a key; what was probably meant is in the config anyway."""
    patient.settings(apiKeyHelper=f"{patient.helper} worc")
    found = patient.found("helper-unknown-credential")
    assert "work" in found.what
    assert "worc" not in found.what


def test_settings_win_over_the_shell(patient: Patient) -> None:
    """Also where they say nothing: an empty variable in the settings hides the shell's stray key."""
    patient.env["ANTHROPIC_API_KEY"] = "fake-key-1"
    assert "stray-key" in codes(patient)
    patient.settings(env={"ANTHROPIC_API_KEY": ""})
    assert "stray-key" not in codes(patient)


def test_a_provider_behind_a_gateway_uses_the_helper(patient: Patient) -> None:
    """With its own sign-in switched off, the helper's key goes out; a switch that is off is none."""
    patient.configure(CONFIG + 'audience = ["https://gate.example"]\n')
    env = {"CLAUDE_CODE_USE_BEDROCK": "1", "ANTHROPIC_BEDROCK_BASE_URL": "https://gate.example"}
    patient.settings(env=env)
    assert "provider-wins" in codes(patient)
    patient.settings(env=env | {"CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1"})
    assert codes(patient) == {"helper-python"}
    patient.settings(env=env | {"CLAUDE_CODE_SKIP_BEDROCK_AUTH": "0"})
    assert "provider-wins" in codes(patient)
    patient.settings(env={"CLAUDE_CODE_USE_BEDROCK": "0", "ANTHROPIC_BASE_URL": "https://gate.example"})
    assert "provider-wins" not in codes(patient)


@pytest.mark.parametrize(("lifetime_s", "ttl"), [(600, "300s"), (3600, "1800s")])
def test_a_ttl_too_long_is_told_with_the_one_to_use(lifetime_s: int, ttl: str, patient: Patient) -> None:
    """Half of the tokens' life, as `broker setup claude-code --ttl auto` would set."""
    patient.script.credentials = [credential_status("work", source="demo", expires_at=None, lifetime_s=lifetime_s)]
    patient.settings(env={TTL: str(lifetime_s * 1000)})
    assert patient.found("ttl-too-long").mend == f"broker setup claude-code --ttl {ttl}"


def test_where_no_ttl_fits_the_slack_is_named_too(patient: Patient) -> None:
    """Tokens of a minute leave no room for the usual slack of one."""
    patient.script.credentials = [credential_status("work", source="demo", expires_at=None, lifetime_s=60)]
    assert 'min_validity = "15s"' in patient.found("ttl-too-long").mend


@pytest.mark.parametrize("lifetime_s", [None, 4000])
def test_a_ttl_that_fits_is_fine(lifetime_s: int | None, patient: Patient) -> None:
    """And every one does for a key without an end."""
    patient.script.credentials = [credential_status("work", source="demo", expires_at=None, lifetime_s=lifetime_s)]
    patient.settings(env={TTL: "1800000"})
    assert codes(patient) == {"helper-python"}


def test_the_credential_is_found_as_the_helper_finds_it(patient: Patient) -> None:
    """By its argument, else by the variable, else by the config."""
    patient.configure('[credentials.a]\nsource = "demo"\n[credentials.b]\nsource = "demo"\n')
    assert "helper-names-none" in codes(patient)
    patient.settings(env={"BROKER_CREDENTIAL": "b"})
    assert "helper-names-none" not in codes(patient)
    patient.settings(apiKeyHelper=f"{patient.helper} a", env={"BROKER_CREDENTIAL": "nobody"})
    assert not {"helper-names-none", "helper-unknown-credential"} & codes(patient)


def test_who_chose_to_keep_nothing_is_not_told_of_it(patient: Patient) -> None:
    """With a daemon and without."""
    patient.configure(CONFIG + '[daemon]\npersist = "off"\n')
    patient.script.daemon["persist"] = "off"
    assert "nothing-kept" not in codes(patient)
    patient.stop()
    assert "nothing-kept" not in codes(patient)


def test_a_helper_line_that_no_shell_could_read_stops_nothing(patient: Patient) -> None:
    """An odd quote is the person's slip, not ours."""
    patient.settings(apiKeyHelper=f"{patient.helper} 'work")
    assert "helper-unknown-credential" in codes(patient)


@pytest.mark.parametrize(
    ("version", "advised"),
    [("2.1.330", "CLAUDE_CODE_IGNORE_PERSISTED_TRUST=1"), ("2.1.197", "claude --setting-sources user")],
)
def test_unattended_runs_get_the_advice_that_their_version_knows(version: str, advised: str, patient: Patient) -> None:
    """An old one has no such variable; where it is set nothing is said."""
    versions = patient.folder / "versions"
    versions.mkdir()
    (versions / version).touch(mode=0o755)
    (patient.folder / "bin" / "claude").symlink_to(versions / version)
    mend = patient.found("unattended-trust").mend
    assert advised in mend
    assert ("IGNORE" in mend) == (version == "2.1.330")
    patient.env["CLAUDE_CODE_IGNORE_PERSISTED_TRUST"] = "1"
    assert "unattended-trust" not in codes(patient)
