"""What the doctor says of an OAuth provider: each fault planted on a fake one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from broker.doctor import Severity
from broker.doctor.registry import ALL
from tests.doctor.conftest import Patient
from tests.fakes.control import credential_status
from tests.fakes.oauth import FakeProvider, fake_provider

CONFIG = """
[sources.gateway]
type = "oauth"
flow = "device"
{where}
client_id = "me"

[credentials.work]
source = "gateway"
"""


@pytest.fixture
def idp() -> Iterator[FakeProvider]:
    """Give a provider."""
    with fake_provider() as made:
        made.metadata = {"issuer": made.address}
        yield made


@pytest.fixture
def user(patient: Patient, idp: FakeProvider) -> Patient:
    """Give somebody who has a token by it."""
    patient.checks = {"OAuth": ALL["OAuth"]}
    patient.configure(CONFIG.format(where=f'issuer = "{idp.address}"'))
    patient.script.credentials = [credential_status("work", source="gateway", expires_at=None)]
    return patient


def test_a_provider_that_answers_is_well(user: Patient, idp: FakeProvider) -> None:
    """Else the faults below would prove nothing; and it is told no secret."""
    assert [(found.severity, found.what) for _, found in user.examine().findings] == [
        (Severity.OK, "1 of 1 providers can be reached")
    ]
    assert not idp.forms


def test_no_such_source_is_well(patient: Patient) -> None:
    """Most configs have none."""
    patient.checks = {"OAuth": ALL["OAuth"]}
    assert [found.what for _, found in patient.examine().findings] == ["no source of this type"]


@pytest.mark.parametrize("where", ['issuer = "{0}"', 'token_url = "{0}/token"\ndevice_url = "{0}/device"'])
def test_a_provider_that_is_away_is_named(user: Patient, where: str) -> None:
    """With what to look at."""
    user.configure(CONFIG.format(where=where.format("http://127.0.0.1:1")))
    found = user.found("oauth-unreachable")
    assert found.severity is Severity.ERROR
    assert found.what == f"source gateway: {found.what.split()[2]} nothing listens there (connection refused)"
    assert "check `" in found.mend


@pytest.mark.parametrize(("apart_s", "side"), [(-400, "ahead of"), (400, "behind")])
def test_clocks_that_differ_are_told_apart(user: Patient, idp: FakeProvider, apart_s: float, side: str) -> None:
    """What we sign would be refused."""
    theirs = datetime.fromtimestamp(time.time() + apart_s, UTC)
    idp.dates.append(theirs.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    found = user.found("oauth-clock")
    assert found.severity is Severity.WARNING
    assert f"s {side} the provider's" in found.what
    assert "timedatectl" in found.mend


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_a_provider_without_a_clock_is_no_finding(user: Patient, idp: FakeProvider, date: str) -> None:
    """Nothing is known then."""
    idp.dates.append(date)
    assert [found.severity for _, found in user.examine().findings] == [Severity.OK]


def test_a_sign_in_that_ends_soon_is_told_in_time(user: Patient) -> None:
    """Before nobody gets a token; one that lasts is no finding."""
    entry = credential_status("work", source="gateway", expires_at=None)
    for left_s, told in [(3 * 3600, True), (72 * 3600, False)]:
        ends = datetime.fromtimestamp(time.time() + left_s, UTC).isoformat()
        user.script.credentials = [entry | {"details": {"sign_in_ends": ends}}]
        found = [found for _, found in user.examine().findings if found.code == "sign-in-ending"]
        assert bool(found) is told
        if found:
            assert (found[0].what, found[0].mend) == ("work: the sign-in ends in 3 h", "broker login gateway")
