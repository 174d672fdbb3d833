"""Application default credentials: what the `gcp` source finds on a machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker.errors import LoginRequired, PermanentFetchError
from broker.model import Kind
from broker.sources.gcp import adc, places
from tests.contracts.source_contract import (
    failure,
    token_of,
)
from tests.fakes.google import ACCOUNT, PERSON, FakeGoogle
from tests.fakes.vault import fake_vault
from tests.sources.gcp.place import Place

STORAGE = "https://www.googleapis.com/auth/devstorage.read_only"
SERVICE = "https://gateway.example"


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
