"""Whatever Claude Code's settings, the shell and the daemon say, the doctor gives findings, and no check fails over it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.doctor.registry import ALL
from tests.doctor.conftest import Patient

NAMES = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "BROKER_CREDENTIAL",
    "BROKER_SOCKET",
    "BROKER_TIMEOUT_MS",
    "CLAUDE_CODE_API_KEY_HELPER_TTL_MS",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CONFIG_DIR",
)
ANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

texts = st.text(max_size=12)
values = st.one_of(texts, st.integers(), st.booleans(), st.none(), st.lists(texts, max_size=2), st.floats())
trees = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={"apiKeyHelper": values, "env": st.one_of(values, st.dictionaries(st.sampled_from(NAMES), values))},
    ),
    values,
)
environments = st.dictionaries(
    st.sampled_from(NAMES), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
)


def failed(patient: Patient, areas: set[str]) -> list[str]:
    """Ask the doctor about some areas; return what was said of checks that failed."""
    patient.checks = {area: ALL[area] for area in areas}
    return [found.what for _, found in patient.examine().findings if found.code in {"check-failed", "check-hangs"}]


@ANY
@given(user=trees, project=trees, env=environments)
def test_no_settings_break_a_check(patient: Patient, user: object, project: object, env: dict[str, str]) -> None:
    """Wrong types, odd texts, absurd numbers: each is some finding, or none."""
    patient.user_settings.write_text(json.dumps(user))
    patient.project_settings(project)
    patient.env = {name: value for name, value in patient.env.items() if name not in NAMES} | env
    assert failed(patient, {"Claude Code", "guard", "places", "files"}) == []


@ANY
@given(
    daemon=st.dictionaries(st.sampled_from(["version", "pid", "locked", "persist", "warnings"]), values), body=values
)
def test_no_answer_of_a_daemon_breaks_a_check(patient: Patient, daemon: dict[str, Any], body: object) -> None:
    """Another version's, or what only passes for one."""
    patient.script.daemon |= daemon
    patient.script.raw["/v1/audit/verify"] = json.dumps(body).encode()
    assert failed(patient, {"daemon", "credentials", "storage", "audit", "clock"}) == []
