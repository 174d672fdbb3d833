"""The `gcp` source: every kind of credentials and of what they give, at a fake Google (tests/fakes/google.py)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.errors import LoginRequired, PermanentFetchError, TransientFetchError
from broker.model import Kind
from broker.sources.gcp import adc, document, places
from broker.sources.references import Reference
from tests.contracts.source_contract import (
    OTHER,
    VALUE,
    AnySource,
    Harness,
    SourceOfValues,
    SourceThatFails,
    SourceThatWaits,
    failure,
    token_of,
)
from tests.fakes.google import ACCOUNT, AUDIENCE, PERSON, TARGET, FakeGoogle, fake_google
from tests.fakes.vault import fake_vault
from tests.sources.gcp_place import Place, program

CLOUD = "https://www.googleapis.com/auth/cloud-platform"
STORAGE = "https://www.googleapis.com/auth/devstorage.read_only"
SERVICE = "https://gateway.example"
SECRET = "projects/corp-project/secrets/claude"


@pytest.fixture(scope="module")
def server() -> Iterator[FakeGoogle]:
    """Run one Google for all."""
    with fake_google() as google:
        yield google


@pytest.fixture
def google(server: FakeGoogle) -> FakeGoogle:
    """Give it as new."""
    fresh = FakeGoogle(address=server.address, gate=server.gate)
    fresh.gate.set()
    server.__dict__.update(fresh.__dict__)
    return server


@pytest.fixture
def no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let no credentials of this machine's be found; give gcloud's folder."""
    for name in (adc.VARIABLE, "GCE_METADATA_HOST", "GCE_METADATA_ROOT", "NO_GCE_CHECK", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    return tmp_path


class _TokenHarness(Harness):
    """Makes the token endpoint hang or fail."""

    def __init__(self, place: Place) -> None:
        self._google = place.google
        self._fetcher = place.fetcher()

    def fetcher(self) -> Any:  # noqa: ANN401  # a fetcher
        return self._fetcher

    def hang(self) -> None:
        self._google.gate.clear()

    def release(self) -> None:
        self._google.gate.set()

    def fail(self, saying: str) -> None:
        self._google.answer = lambda _method, _path: (400, {"error": "invalid_grant", "error_description": saying})


class TestAccessToken(SourceThatWaits, SourceThatFails, AnySource):
    """A service account's access tokens keep the contract."""

    @pytest.fixture
    def harness(self, google: FakeGoogle) -> Harness:
        """Give a service account."""
        return _TokenHarness(Place(google))


class _SecretHarness(_TokenHarness):
    """Writes the secret."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._fetcher = place.fetcher(kind="secret", secret="claude")

    def give(self, text: str) -> None:
        self._google.secrets.setdefault(SECRET, []).append(text.encode())

    def remove(self) -> None:
        self._google.secrets.clear()

    def fail(self, saying: str) -> None:
        self._google.answer = lambda _method, path: (
            (403, {"error": {"message": saying, "status": "PERMISSION_DENIED"}}) if "secrets" in path else None
        )


class TestSecret(SourceOfValues, SourceThatFails):
    """So do Secret Manager's secrets."""

    @pytest.fixture
    def harness(self, google: FakeGoogle) -> Harness:
        """Give a secret."""
        google.secrets[SECRET] = [VALUE.encode()]
        return _SecretHarness(Place(google))


# --- access tokens --------------------------------------------------------------------------------------------------


async def test_a_service_account_gives_tokens_of_the_scopes_that_are_wanted(google: FakeGoogle) -> None:
    """With the true end, and with what a metadata server has to tell beside it."""
    issued = await Place(google, quota_project="billed-project").fetcher(scopes=(STORAGE,)).fetch()
    assert google.tokens[token_of(issued)].who == ACCOUNT
    assert google.tokens[token_of(issued)].scopes == (STORAGE,)
    assert issued.kind is Kind.ACCESS_TOKEN
    assert issued.expires_at == pytest.approx(time.time() + 3600, abs=5)
    assert issued.details == {
        "email": ACCOUNT,
        "project_id": "corp-project",
        "quota_project": "billed-project",
        "universe_domain": "googleapis.com",
        "scopes": STORAGE,
    }


async def test_every_fetch_gets_another_token(google: FakeGoogle) -> None:
    """Google's library keeps a token until 3:45 before its end; when a new one is due is the engine's business."""
    fetcher = Place(google).fetcher()
    assert token_of(await fetcher.fetch()) != token_of(await fetcher.fetch())
    assert google.calls["/token"] == 2


async def test_a_new_key_is_noticed_and_used(google: FakeGoogle) -> None:
    """Where the reference can tell; its next reading uses it in any case."""
    place = Place(google)
    fetcher = place.fetcher()
    await fetcher.fetch()
    assert not fetcher.changed()
    place.write(google.authorized_user())
    assert fetcher.changed()
    assert google.tokens[token_of(await fetcher.fetch())].who == PERSON


async def test_a_key_in_a_file_may_have_many_lines_but_no_other_readers(google: FakeGoogle, tmp_path: Path) -> None:
    """As it was downloaded; open to others it is refused, with the command that mends it."""
    file = tmp_path / "key.json"
    file.write_text(json.dumps(google.service_account(), indent=2) + "\n")
    file.chmod(0o644)
    fetcher = Place(google, credentials=Reference(file=str(file))).fetcher()
    assert f"chmod go= {file}" in str(await failure(fetcher))
    file.chmod(0o600)
    assert google.tokens[token_of(await fetcher.fetch())].who == ACCOUNT


async def test_a_users_sign_in_of_gclouds_is_refreshed(google: FakeGoogle) -> None:
    """With the scopes that it agreed to."""
    issued = await Place(google, google.authorized_user(quota_project_id="their-project")).fetcher().fetch()
    assert google.tokens[token_of(issued)].who == PERSON
    assert (issued.details["email"], issued.details["quota_project"]) == (PERSON, "their-project")


async def test_a_workforce_users_sign_in_is_refreshed_also_when_its_refresh_token_changes(google: FakeGoogle) -> None:
    """The exchange may give another one for the next time."""
    document = google.authorized_user(
        type="external_account_authorized_user",
        audience="//iam.googleapis.com/locations/global/workforcePools/fake/providers/fake",
        token_url=f"{google.address}/v1/oauthtoken",
    )
    fetcher = Place(google, document).fetcher()
    google.refresh_tokens["fake-refresh-2"] = (CLOUD,)
    google.answer = lambda _method, _path: (
        200,
        {"access_token": "ya29.fake-first", "expires_in": 3600, "refresh_token": "fake-refresh-2"},
    )
    assert token_of(await fetcher.fetch()) == "ya29.fake-first"
    google.answer = lambda _method, _path: None
    assert google.tokens[token_of(await fetcher.fetch())].who == PERSON
    assert google.bodies["/v1/oauthtoken"]["refresh_token"] == "fake-refresh-2"


@pytest.mark.parametrize("kind", ["file", "url"])
async def test_a_workloads_token_is_exchanged(google: FakeGoogle, tmp_path: Path, kind: str) -> None:
    """Workload identity federation, whose token is in a file or behind an address."""
    file = tmp_path / "token"
    file.write_text(google.subject_token)
    shape = {"type": "json", "subject_token_field_name": "value"}
    sources: dict[str, dict[str, Any]] = {
        "file": {"file": str(file)},
        "url": {"url": f"{google.address}/subject", "format": shape},
    }
    issued = await Place(google, google.external_account(sources[kind])).fetcher(scopes=(STORAGE,)).fetch()
    assert google.tokens[token_of(issued)].who == AUDIENCE
    assert google.tokens[token_of(issued)].scopes == (STORAGE,)


async def test_a_workloads_token_file_is_read_as_any_secret_is(google: FakeGoogle, tmp_path: Path) -> None:
    """Others may read it, as Kubernetes mounts it; a FIFO in its place hangs nobody, and a new token is noticed."""
    file = tmp_path / "token"
    os.mkfifo(file, 0o600)
    fetcher = Place(google, google.external_account({"file": str(file)})).fetcher()
    assert "must be a regular file" in str(await failure(fetcher))
    file.unlink()
    file.write_text(google.subject_token)
    file.chmod(0o644)
    assert google.tokens[token_of(await fetcher.fetch())].who == AUDIENCE
    assert not fetcher.changed()
    file.write_text("fake-subject-token-2")
    assert fetcher.changed()
    error = await failure(fetcher)
    assert "is not accepted" in str(error)
    assert "fake-subject" not in str(error)
    relative = Place(google, google.external_account({"file": "token"})).fetcher()
    assert "must be an absolute path" in str(await failure(relative))


async def test_a_workload_that_shows_a_certificate_is_told_that_it_cannot(google: FakeGoogle) -> None:
    """It would be refused by Google without a reason."""
    source = {"certificate": {"use_default_certificate_config": True}}
    assert "show a certificate" in str(await failure(Place(google, google.external_account(source)).fetcher()))


async def test_an_aws_workload_signs_for_it(google: FakeGoogle, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the keys of its environment, by a request that only shows who it is."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "fake-access-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "fake-secret-key")
    source = {
        "environment_id": "aws1",
        "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
    }
    document = google.external_account(source, subject_token_type="urn:ietf:params:aws:token-type:aws4_request")
    assert google.tokens[token_of(await Place(google, document).fetcher().fetch())].who == AUDIENCE


async def test_a_workloads_token_that_is_refused_is_not_quoted(google: FakeGoogle) -> None:
    """Though Google does."""
    document = google.external_account({"url": f"{google.address}/subject"})
    error = await failure(Place(google, document).fetcher())
    assert "is not accepted" in str(error)
    assert google.subject_token not in str(error)


# --- impersonation --------------------------------------------------------------------------------------------------


async def test_a_service_account_is_impersonated(google: FakeGoogle) -> None:
    """Of its own scopes, whoever asks; the token of who asks is not given to anybody."""
    issued = await Place(google, impersonate=TARGET).fetcher(scopes=(STORAGE,)).fetch()
    assert google.tokens[token_of(issued)].who == TARGET
    assert google.tokens[token_of(issued)].scopes == (STORAGE,)
    assert (issued.details["email"], issued.details["project_id"]) == (TARGET, "other-project")


async def test_a_token_of_who_asks_that_died_early_is_replaced(google: FakeGoogle) -> None:
    """It is used for as long as it should live; one fetch finds out, and does not fail for it."""
    fetcher = Place(google, impersonate=TARGET).fetcher()
    await fetcher.fetch()
    await fetcher.fetch()
    assert google.calls["/token"] == 1
    google.tokens.clear()
    assert google.tokens[token_of(await fetcher.fetch())].who == TARGET
    assert google.calls["/token"] == 2


async def test_an_impersonation_through_delegates_names_them_all(google: FakeGoogle) -> None:
    """Each of them must be allowed to act as the next one."""
    between = "between@corp-project.iam.gserviceaccount.com"
    google.may_act_as = {(ACCOUNT, between), (between, TARGET)}
    place = Place(google, impersonate=TARGET, delegates=(between,))
    assert google.tokens[token_of(await place.fetcher().fetch())].who == TARGET
    assert place.source is not None
    id_token = await place.fetcher(kind="id-token", target_audience=SERVICE).fetch()
    assert id_token.details["email"] == TARGET


async def test_a_json_of_an_impersonation_is_followed(google: FakeGoogle) -> None:
    """As gcloud writes it for `--impersonate-service-account`."""
    document = {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": f"{google.address}/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken",
        "source_credentials": google.authorized_user(),
    }
    google.may_act_as = {(PERSON, TARGET)}
    assert google.tokens[token_of(await Place(google, document).fetcher().fetch())].who == TARGET


async def test_a_workload_may_impersonate_too(google: FakeGoogle, tmp_path: Path) -> None:
    """As its JSON says, for as long as that says."""
    file = tmp_path / "token"
    file.write_text(google.subject_token)
    google.may_act_as = {(AUDIENCE, TARGET)}
    document = google.external_account(
        {"file": str(file)},
        service_account_impersonation_url=f"{google.address}/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken",
        service_account_impersonation={"token_lifetime_seconds": 1800},
    )
    assert google.tokens[token_of(await Place(google, document).fetcher().fetch())].who == TARGET
    path = f"/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
    assert google.bodies[path]["lifetime"] == "1800s"


# --- ID tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("impersonate", [None, TARGET])
async def test_an_id_token_is_for_one_service(google: FakeGoogle, impersonate: str | None) -> None:
    """By a service account itself or by impersonation, with its own end."""
    issued = await Place(google, impersonate=impersonate).fetcher(kind="id-token", target_audience=SERVICE).fetch()
    assert issued.kind is Kind.ID_TOKEN
    assert issued.details == {"target_audience": SERVICE, "email": impersonate or ACCOUNT}
    assert issued.expires_at == pytest.approx(time.time() + 3600, abs=5)


async def test_a_user_has_no_id_token_for_a_service_and_is_told_what_has(google: FakeGoogle) -> None:
    """Google gives a user's ID tokens for the application that they signed in to alone."""
    error = await failure(Place(google, google.authorized_user()).fetcher(kind="id-token", target_audience=SERVICE))
    assert isinstance(error, PermanentFetchError)
    assert "authorized_user credentials give no ID tokens" in str(error)
    assert "set impersonate" in str(error)


# --- Secret Manager -------------------------------------------------------------------------------------------------


async def test_a_secret_is_read_by_version_and_field(google: FakeGoogle) -> None:
    """The latest one unless a number is named; a field where it is JSON."""
    google.secrets[SECRET] = [json.dumps({"keys": [{"key": VALUE}]}).encode(), OTHER.encode()]
    place = Place(google, quota_project="billed-project")
    first = await place.fetcher(kind="secret", secret=SECRET, version=1, field="keys.0.key").fetch()
    assert (token_of(first), first.details["version"]) == (VALUE, "1")
    latest = await place.fetcher(kind="secret", secret="claude", project="corp-project").fetch()
    assert (token_of(latest), latest.details["version"]) == (OTHER, "2")
    assert google.headers[f"/v1/{SECRET}/versions/latest:access"]["x-goog-user-project"] == "billed-project"


async def test_a_secret_that_was_damaged_on_its_way_is_not_served(google: FakeGoogle) -> None:
    """Google states a checksum; what does not match it is asked for again."""
    google.answer = lambda _method, path: (
        (200, {"name": "x/versions/1", "payload": {"data": "ZmFrZQ==", "dataCrc32c": "1"}})
        if "secrets" in path
        else None
    )
    error = await failure(Place(google).fetcher(kind="secret", secret="claude"))
    assert isinstance(error, TransientFetchError)
    assert "checksum" in str(error)


# --- application default credentials --------------------------------------------------------------------------------


async def test_without_credentials_those_of_the_machine_are_used(
    google: FakeGoogle, no_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that a variable names, before the one of gcloud's; a file that comes later is noticed."""
    fetcher = Place(google, credentials=None).fetcher()
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    error = await failure(fetcher)
    assert isinstance(error, LoginRequired)
    assert "run: gcloud auth application-default login" in str(error)
    assert not fetcher.changed()
    file = no_files / "application_default_credentials.json"
    file.write_text(json.dumps(google.authorized_user()))
    file.chmod(0o600)
    assert fetcher.changed()
    assert google.tokens[token_of(await fetcher.fetch())].who == PERSON
    named = no_files / "named.json"
    named.write_text(json.dumps(google.service_account()))
    named.chmod(0o600)
    monkeypatch.setenv(adc.VARIABLE, str(named))
    assert fetcher.changed()
    assert google.tokens[token_of(await fetcher.fetch())].who == ACCOUNT


async def test_on_googles_machines_the_metadata_server_is_asked(
    google: FakeGoogle, no_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For access tokens and ID tokens, and for what it knows of the project."""
    from google.auth.compute_engine import _metadata  # noqa: PLC0415  # as late as the source itself

    host = google.address.removeprefix("http://")
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", host)
    monkeypatch.setenv("GCE_METADATA_HOST", host)
    monkeypatch.setattr(places, "is_loopback", lambda _url: False)
    place = Place(google, credentials=None)
    issued = await place.fetcher(scopes=(STORAGE,)).fetch()
    assert google.tokens[token_of(issued)].scopes == (STORAGE,)
    assert issued.details["email"] == ACCOUNT
    assert (issued.details["project_id"], issued.details["project_number"]) == ("corp-project", "123456")
    assert (await place.fetcher(kind="id-token", target_audience=SERVICE).fetch()).kind is Kind.ID_TOKEN
    google.answer = lambda _method, path: (404, {}) if path.endswith(("/token", "/identity")) else None
    for settings in ({}, {"kind": "id-token", "target_audience": SERVICE}):
        assert "has this machine a service account?" in str(await failure(place.fetcher(**settings)))
    google.answer = lambda _method, _path: (503, {})
    assert "where no metadata server is meant, run: gcloud auth" in str(await failure(place.fetcher()))
    google.answer = lambda _method, path: (503, {}) if "/project/" in path else None
    assert "project_id" not in (await place.fetcher().fetch()).details


@pytest.mark.parametrize("by", ["product", "number", "serverless"])
def test_a_machine_of_googles_is_found_out_within_a_second(
    google: FakeGoogle, no_files: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """By what its firmware says, or by whether anybody listens; a name that nobody knows may take half a minute."""
    monkeypatch.setattr(adc, "_PRODUCT", no_files / "product_name")
    monkeypatch.setattr(adc, "_ADDRESS", ("127.0.0.1", 1))
    for name in adc._SERVERLESS:
        monkeypatch.delenv(name, raising=False)
    assert not adc.metadata_is_there()
    if by == "product":
        (no_files / "product_name").write_text("Google Compute Engine\n")
    if by == "number":
        monkeypatch.setattr(adc, "_ADDRESS", ("127.0.0.1", int(google.address.rpartition(":")[2])))
    if by == "serverless":
        monkeypatch.setenv("K_SERVICE", "fake-service")
    assert adc.metadata_is_there()


def test_another_clouds_metadata_server_is_not_googles(no_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the same number, and would be asked for ever."""
    monkeypatch.setattr(adc, "_PRODUCT", no_files / "product_name")
    with fake_vault() as other:
        monkeypatch.setattr(adc, "_ADDRESS", ("127.0.0.1", int(other.address.rpartition(":")[2])))
        assert not adc.metadata_is_there()


async def test_a_variable_that_depends_on_a_folder_is_refused(
    google: FakeGoogle, no_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows which folder the daemon is in."""
    monkeypatch.setenv(adc.VARIABLE, "key.json")
    fetcher = Place(google, credentials=None).fetcher()
    assert "must be an absolute path" in str(await failure(fetcher))
    assert not fetcher.changed()


async def test_a_daemon_never_asks_its_own_endpoint(
    google: FakeGoogle, no_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started by a shell with the variables of `broker env`, it would wait for itself."""
    monkeypatch.setenv("GCE_METADATA_HOST", google.address.removeprefix("http://"))
    error = await failure(Place(google, credentials=None).fetcher())
    assert isinstance(error, PermanentFetchError)
    assert "env -u GCE_METADATA_HOST" in str(error)
    assert not google.calls


# --- programs -------------------------------------------------------------------------------------------------------


async def test_a_program_gives_the_token_and_sees_no_more_than_it_must(
    google: FakeGoogle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs only where a person allowed it, without the daemon's variables."""
    monkeypatch.setenv("FAKE_COMPANY_SECRET", "fake-token-of-another")
    text = f"""
import json, os
found = sorted(name for name in os.environ if name.startswith(("FAKE_", "GOOGLE_", "BROKER_")))
open({str(tmp_path / "seen")!r}, "w").write(json.dumps(found))
print(json.dumps({{"version": 1, "success": True, "token_type": "urn:ietf:params:oauth:token-type:jwt",
                  "id_token": {google.subject_token!r}, "expiration_time": 9999999999}}))
"""
    source = {"executable": {"command": program(tmp_path / "token.py", text), "timeout_millis": 5000}}
    document = google.external_account(source)
    error = await failure(Place(google, document).fetcher())
    assert "allow_executable = true" in str(error)
    issued = await Place(google, document, allow_executable=True).fetcher().fetch()
    assert google.tokens[token_of(issued)].who == AUDIENCE
    assert json.loads((tmp_path / "seen").read_text()) == [
        "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES",
        "GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE",
        "GOOGLE_EXTERNAL_ACCOUNT_ID",
        "GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE",
        "GOOGLE_EXTERNAL_ACCOUNT_REVOKE",
        "GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE",
    ]


async def test_a_program_that_others_could_replace_is_not_run(google: FakeGoogle, tmp_path: Path) -> None:
    """They would choose what runs as us."""
    command = program(tmp_path / "token.py", "raise SystemExit(1)")
    (tmp_path / "token.py").chmod(0o777)
    document = google.external_account({"executable": {"command": command}})
    error = await failure(Place(google, document, allow_executable=True).fetcher())
    assert "can be written by everybody" in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("print('fake-token-printed')", "prints no answer of Google's protocol"),
        ("import sys; sys.exit('login first: token=fake-token-1')", "exit status 1: login first: token=***"),
        (
            'print(\'{"version": 1, "success": false, "code": "401", "message": "not signed in"}\')',
            "not signed in",
        ),
    ],
)
async def test_a_program_that_fails_is_told_without_what_it_printed(
    google: FakeGoogle, tmp_path: Path, text: str, words: str
) -> None:
    """It may have printed half a token."""
    document = google.external_account({"executable": {"command": program(tmp_path / "token.py", text)}})
    error = await failure(Place(google, document, allow_executable=True).fetcher())
    assert isinstance(error, TransientFetchError)
    assert words in str(error)
    assert "fake-token" not in str(error)


async def test_what_a_program_wrote_to_its_file_is_used_while_it_holds(google: FakeGoogle, tmp_path: Path) -> None:
    """Signing in again may need a person; what has ended, or says no end, is asked for anew."""
    kept = tmp_path / "kept.json"
    counter = tmp_path / "runs"
    text = f"""
import json
open({str(counter)!r}, "a").write("x")
print(json.dumps({{"version": 1, "success": True, "token_type": "urn:ietf:params:oauth:token-type:saml2",
                  "saml_response": {google.subject_token!r}, "expiration_time": 9999999999}}))
"""
    executable = {"command": program(tmp_path / "token.py", text), "output_file": str(kept)}
    place = Place(google, google.external_account({"executable": executable}), allow_executable=True)
    answer = {"version": 1, "success": True, "token_type": "urn:ietf:params:oauth:token-type:jwt"}
    answer |= {"id_token": google.subject_token}
    for content in (
        json.dumps(answer | {"expiration_time": time.time() + 60}),
        json.dumps(answer | {"expiration_time": time.time() - 60}),
        json.dumps(answer),
        "fake-damaged",
        "[7]",
    ):
        kept.write_text(content)
        assert google.tokens[token_of(await place.fetcher().fetch())].who == AUDIENCE
    assert counter.read_text() == "xxxx"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"timeout_millis": 0.1}, "is malformed"),
        ({"command": "relative/program"}, "found a relative path"),
        ({"command": "no-such-program-of-ours"}, "no such program on PATH"),
        ({"command": ""}, "is malformed"),
        ({"command": "'"}, "command: No closing quotation"),
    ],
)
async def test_a_program_that_cannot_be_run_says_why(google: FakeGoogle, changes: dict[str, Any], words: str) -> None:
    """Before anything is run."""
    document = google.external_account({"executable": {"command": "true"} | changes})
    error = await failure(Place(google, document, allow_executable=True).fetcher())
    assert type(error) is PermanentFetchError
    assert words in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [("print('x' * 100_000)", "printed more than 64 KiB"), ("import time; time.sleep(9)", "no answer within")],
)
async def test_a_program_that_does_not_end_well_is_killed(
    google: FakeGoogle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    """Within its own time-out, of which Google allows five seconds at least."""
    from google.auth import pluggable  # noqa: PLC0415  # as late as the source itself

    monkeypatch.setattr(pluggable, "EXECUTABLE_TIMEOUT_MILLIS_LOWER_BOUND", 1)
    executable = {"command": program(tmp_path / "token.py", text), "timeout_millis": 200}
    document = google.external_account({"executable": executable})
    error = await failure(Place(google, document, allow_executable=True).fetcher())
    assert isinstance(error, TransientFetchError)
    assert words in str(error)


# --- a JSON that somebody else wrote --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"token_uri": "https://oauth2.googleapis.com.evil.example/token"},
        {"token_uri": "http://oauth2.googleapis.com/token"},
        {"token_uri": "https://oauth2.googleapis.com@evil.example/token"},
        {"token_uri": "https://evil.example\\@oauth2.googleapis.com/token"},
        {"token_uri": ["https://oauth2.googleapis.com/token"]},
        {"universe_domain": "evil.example"},
        {"type": "external_account", "token_url": "https://evil.example/v1/token"},
        {
            "type": "external_account",
            "service_account_impersonation_url": "https://evil.example/v1/x@y:generateAccessToken",
        },
        {"type": "external_account", "credential_source": {"url": "http://evil.example/token"}},
        {"type": "external_account", "credential_source": {"url": "file:///etc/passwd"}},
        {
            "type": "external_account",
            "credential_source": {"environment_id": "aws1", "url": "https://evil.example/keys"},
        },
        {"type": "impersonated_service_account", "source_credentials": {"type": "authorized_user", "token_uri": "x"}},
        {"type": "web"},
        {"type": None},
    ],
)
async def test_an_address_that_is_not_googles_gets_nothing(google: FakeGoogle, changes: dict[str, Any]) -> None:
    """A signed assertion that is sent elsewhere is as good as a token of the account's."""
    error = await failure(Place(google, google.service_account() | changes).fetcher())
    assert isinstance(error, PermanentFetchError)
    assert "PRIVATE KEY" not in str(error)
    assert not google.calls


@pytest.mark.parametrize(
    "document", [{}, [], "fake-key", {"type": "service_account"}, {"type": "authorized_user", "refresh_token": 7}]
)
async def test_a_json_that_is_none_is_an_error_of_ours(google: FakeGoogle, document: Any) -> None:  # noqa: ANN401  # JSON
    """Whatever it is."""
    assert isinstance(await failure(Place(google, document).fetcher()), PermanentFetchError)


async def test_names_in_a_json_do_not_get_into_commands_that_people_paste(google: FakeGoogle) -> None:
    """An account called `x; rm -rf ~` is none."""
    hostile = google.service_account(client_email="a@b; rm -rf ~", project_id="$(id)", quota_project_id="a\r\nb")
    google.answer = lambda _method, _path: (
        400,
        {"error": "invalid_grant", "error_description": "Invalid JWT Signature."},
    )
    error = await failure(Place(google, hostile).fetcher())
    assert "--iam-account=ACCOUNT" in str(error)
    google.answer = lambda _method, _path: (200, {"access_token": "ya29.fake", "expires_in": 3600})
    assert (await Place(google, hostile).fetcher().fetch()).details.keys() == {"universe_domain", "scopes"}


def test_a_document_does_not_show_itself(google: FakeGoogle) -> None:
    """Printing it, as a log would, shows no key."""
    read = document.read(json.dumps(google.service_account()), "here", "googleapis.com")
    assert "PRIVATE KEY" not in repr(read)


def test_which_addresses_a_token_may_be_sent_to() -> None:
    """Google's own and those of a universe that the config names, over TLS, and this machine."""
    for url in ("https://oauth2.googleapis.com/token", "https://sts.europe-west1.rep.googleapis.com/v1/token"):
        assert places.is_googles(url, "googleapis.com")
    assert places.is_googles("https://sts.cloud.example/v1/token", "cloud.example")
    assert not places.is_googles("https://sts.cloud.example/v1/token", "googleapis.com")
    assert not places.is_googles("https://oauth2.googleapis.com:99999/token", "googleapis.com")


def test_where_googles_services_are() -> None:
    """By their names, of the universe and region; other addresses are what the config says."""
    apis = places.Apis(secretmanager="https://secretmanager.corp.example/")
    assert places.address(apis, "iamcredentials", "cloud.example") == "https://iamcredentials.cloud.example"
    assert places.address(apis, "secretmanager", "googleapis.com", "eu") == "https://secretmanager.corp.example"
    regional = places.address(places.Apis(), "secretmanager", "googleapis.com", "europe-west1")
    assert regional == "https://secretmanager.europe-west1.rep.googleapis.com"
    assert places.address(apis, "accounts", "googleapis.com") == "https://accounts.google.com"


# --- the process ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_daemon_that_serves_no_google_credential_does_not_load_the_library() -> None:
    """One that serves another source loads and opens what it needs and no more; a Google source loads it at once."""
    code = """
import asyncio, sys, time
from pathlib import Path
import broker.daemon
from broker.config import parse
from broker.sources import TYPES
from tests.fakes.context import FakeContext
def loaded(text):
    for source in parse(text, Path("/x"), TYPES, {}).sources.values():
        source.type.open(source.settings, FakeContext())
    return "google.auth" in sys.modules
assert not loaded('[credentials.a]\\nsource = "env"\\nname = "A"\\n')
loaded('[credentials.a]\\nsource = "gcp"\\n')
end = time.monotonic() + 60
while "google.auth" not in sys.modules and time.monotonic() < end: time.sleep(0.01)
assert "google.auth" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def test_many_fetches_at_once_do_not_disturb_each_other(google: FakeGoogle) -> None:
    """Each credential has a thread of its own."""
    place = Place(google)
    issued = await asyncio.gather(*(place.fetcher().fetch() for _ in range(20)))
    assert len({token_of(one) for one in issued}) == 20
