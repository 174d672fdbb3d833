"""Workloads of other clouds and companies, whose tokens are exchanged for Google's; some come from a program."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from broker.errors import PermanentFetchError, TransientFetchError
from tests.contracts.source_contract import (
    failure,
    token_of,
)
from tests.fakes.google import AUDIENCE, FakeGoogle
from tests.sources.gcp.place import Place, program

STORAGE = "https://www.googleapis.com/auth/devstorage.read_only"


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
