"""The doctor and the systems around Claude Code: nothing is left behind or used up by looking."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker import config
from broker.doctor.stored import Stored
from broker.doctor.trial import SPARED, Tried, directly
from broker.sources import TYPES
from tests.doctor.conftest import Patient
from tests.fakes.anthropic import ORGANIZATION, RULE, FakeAnthropic, fake_anthropic
from tests.fakes.litellm import MASTER_KEY, FakeLiteLLM, fake_litellm


@pytest.fixture
def proxy() -> Iterator[FakeLiteLLM]:
    """Give a LiteLLM proxy."""
    with fake_litellm() as made:
        yield made


@pytest.fixture
def anthropic() -> Iterator[FakeAnthropic]:
    """Give a token endpoint."""
    with fake_anthropic() as made:
        yield made


def tried(patient: Patient) -> dict[str, Tried]:
    """Try the config's credentials without a daemon."""
    return directly(config.read(patient.config, TYPES, patient.env), Stored("off"), 5.0)


def configure_litellm(patient: Patient, proxy: FakeLiteLLM) -> None:
    """Write a config whose credential is a key of the proxy's."""
    patient.configure(f"""
[sources.proxy]
type = "litellm"
base_url = "{proxy.url}"
master_key = {{ env = "FAKE_MASTER_KEY" }}
[credentials.work]
source = "proxy"
""")


def configure_federation(patient: Patient, anthropic: FakeAnthropic) -> None:
    """Write a config whose credential is a token by federation."""
    patient.configure(f"""
[sources.federation]
type = "anthropic"
organization_id = "{ORGANIZATION}"
federation_rule_id = "{RULE}"
base_url = "{anthropic.url}"
[credentials.work]
source = "federation"
assertion = {{ env = "FAKE_ASSERTION" }}
""")


def test_a_key_that_was_made_to_see_whether_it_can_be_is_deleted(
    patient: Patient, proxy: FakeLiteLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at the set-up would leave one that lives for an hour."""
    monkeypatch.setenv("FAKE_MASTER_KEY", MASTER_KEY)
    configure_litellm(patient, proxy)
    assert tried(patient)["work"].state == "fresh"
    assert len(proxy.made) == 1
    assert proxy.alive == []


@pytest.mark.parametrize(
    ("master_key", "words"),
    [("sk-fake-wrong", "the master key is refused (status 401); mend `master_key`"), ("", "FAKE_MASTER_KEY")],
)
def test_what_keeps_a_proxy_from_making_keys_is_found(
    patient: Patient, proxy: FakeLiteLLM, monkeypatch: pytest.MonkeyPatch, master_key: str, words: str
) -> None:
    """A wrong master key, or none."""
    monkeypatch.setenv("FAKE_MASTER_KEY", master_key)
    configure_litellm(patient, proxy)
    assert words in tried(patient)["work"].problem


def test_a_proxy_that_is_not_there_is_found(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """With where to look."""
    monkeypatch.setenv("FAKE_MASTER_KEY", MASTER_KEY)
    configure_litellm(patient, FakeLiteLLM("http://127.0.0.1:1"))
    assert "nothing listens there" in tried(patient)["work"].problem


def test_no_assertion_is_used_up_by_looking(
    patient: Patient, anthropic: FakeAnthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon that is started next needs it: a token file holds the same one for an hour."""
    monkeypatch.setenv("FAKE_ASSERTION", "fake-assertion-1")
    configure_federation(patient, anthropic)
    assert tried(patient) == {"work": Tried(SPARED)}
    assert anthropic.asked == []
    patient.stop()
    assert "work: not tried, as no daemon runs" in patient.found("credential-spared").what


def test_a_federated_token_that_goes_through_the_helper_is_told(patient: Patient, anthropic: FakeAnthropic) -> None:
    """It goes out without the header that makes it one, and the API's refusal would not say so."""
    configure_federation(patient, anthropic)
    found = patient.found("federation-by-helper")
    assert "without the anthropic-beta header" in found.why
    assert found.mend.startswith("broker export work --format anthropic-profile")


@pytest.mark.parametrize("name", ["ANTHROPIC_FEDERATION_RULE_ID", "ANTHROPIC_PROFILE"])
def test_an_exchange_of_claude_codes_own_that_is_not_in_force_is_told(patient: Patient, name: str) -> None:
    """The helper wins over it, measured."""
    patient.settings(env={name: "fake"})
    assert "is not looked at: the helper in" in patient.found("federation-idle").what
