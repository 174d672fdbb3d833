"""What an external account with an executable source can rely on; real clients are in tests/real/test_gcp_endpoint.py."""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator

import pytest

from broker.errors import BadRequest, LoginRequired, TransientFetchError
from broker.integrations import gcp_clients
from broker.model import Kind
from tests.endpoints.gcp_world import Google, World, serving

GRANT = {"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Give an endpoint that serves one credential of a Google account."""
    async with serving() as running:
        yield running


async def test_what_the_executable_prints_is_exchanged_for_the_access_token(world: World) -> None:
    """The access token itself is never printed; scopes narrow it as at the metadata server."""
    printed = await world.subject_token("vertex")
    assert (printed["version"], printed["success"]) == (1, True)
    assert printed["token_type"] == "urn:ietf:params:oauth:token-type:jwt"
    assert "fake-scope" not in printed["id_token"]
    form = GRANT | {"subject_token": printed["id_token"]}
    answer = await world.post("/v1/token", form)
    told = answer.json()
    assert 3590 <= told.pop("expires_in") <= 3600
    assert told == {
        "access_token": "fake-scope-a+scope-b-1",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer",
    }
    narrowed = await world.post("/v1/token", form | {"scope": "scope-b scope-x"})
    assert narrowed.json()["access_token"] == "fake-scope-b-2"


async def test_what_the_config_names_is_exchanged_whatever_its_kind() -> None:
    """As the metadata server gives it: the file of `broker setup gcp` works for a company's own command too."""
    command = Google(facts={}, kind=Kind.API_KEY)
    async with serving({"cmd": command}, default="cmd", type_name="command") as world:
        subject = (await world.subject_token("cmd"))["id_token"]
        assert "fake-scope" not in subject
        answer = await world.post("/v1/token", GRANT | {"subject_token": subject})
        assert answer.json()["access_token"] == "fake-scope-a+scope-b-1"


async def test_a_credential_that_is_a_jwt_is_the_subject_token_itself() -> None:
    """For a workload identity pool of Google's: there the exchange is Google's own."""
    async with serving({"jwt": Google(kind=Kind.API_KEY)}) as world:
        printed = await world.subject_token("jwt")
        assert printed["id_token"] == "fake-scope-a+scope-b-1"
        assert printed["expiration_time"] == int(world.expires_at("jwt"))


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"grant_type": "client_credentials"},
        GRANT,
        GRANT | {"subject_token": "vertex." + "0" * 96},
        GRANT | {"subject_token": "é"},
        GRANT | {"requested_token_type": "urn:ietf:params:oauth:token-type:id_token"},
    ],
)
async def test_nothing_else_is_exchanged(world: World, form: dict[str, str]) -> None:
    """In OAuth's words, which clients show."""
    answer = await world.post("/v1/token", form)
    assert answer.status == 400
    assert set(answer.json()) == {"error", "error_description"}
    assert b"fake-" not in answer.body
    assert world.google.asked == []


async def test_a_subject_token_opens_only_its_own_credential() -> None:
    """Whatever name somebody writes before it."""
    async with serving({"one": Google(), "two": Google()}) as world:
        token = (await world.subject_token("one"))["id_token"].rpartition(".")[2]
        assert (await world.post("/v1/token", GRANT | {"subject_token": f"two.{token}"})).status == 400


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"X_Forwarded_For": "10.0.0.1"}]
)
async def test_web_pages_exchange_nothing(world: World, headers: dict[str, str]) -> None:
    """A form is what a page can send without a question; it would need the subject token, too."""
    form = GRANT | {"subject_token": (await world.subject_token("vertex"))["id_token"]}
    answer = await world.post("/v1/token", form, **headers)
    assert answer.status == 403
    assert b"fake-" not in answer.body


async def test_strangers_exchange_nothing(world: World) -> None:
    """Though they have the subject token."""
    form = GRANT | {"subject_token": (await world.subject_token("vertex"))["id_token"]}
    world.consumers.stranger = True
    assert (await world.post("/v1/token", form)).status == 403


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("application/x-www-form-urlencoded", b"\xff"),
        ("application/x-www-form-urlencoded", b"a=1&" * 40),
        ("application/x-www-form-urlencoded", b"a"),
    ],
)
async def test_what_is_no_form_is_refused(world: World, content_type: str, body: bytes) -> None:
    """Whatever else it is."""
    answer = await world.call("POST", "/v1/token", body, Content_Type=content_type)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_request")


async def test_a_form_without_end_is_not_read(world: World) -> None:
    """Nobody's scopes are that long."""
    assert (await world.post("/v1/token", GRANT | {"scope": "x" * 20_000})).status == 413


async def test_the_executable_says_what_is_wrong(world: World) -> None:
    """Before its client would ask for the exchange."""
    world.google.failure = LoginRequired("run: broker login google")
    with pytest.raises(Exception, match="broker login google"):
        await world.subject_token("vertex")


async def test_a_failing_exchange_is_told_in_oauths_words(world: World) -> None:
    """What may pass is a 503, which clients try again."""
    form = GRANT | {"subject_token": (await world.subject_token("vertex"))["id_token"]}
    world.google.failure = TransientFetchError("the network is down")
    world.broker.keeper("vertex").replaced()
    answer = await world.post("/v1/token", form)
    assert (answer.status, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert "the network is down" in answer.json()["error_description"]


# --- the file ---------------------------------------------------------------------------------------------------


def test_the_file_names_the_executable_as_every_library_splits_it() -> None:
    """Python splits as a shell does, Node at blanks outside double quotes; the file holds no secret."""
    command = ["/opt/my tools/broker", "export", "work", "--format", "gcp-executable"]
    content = gcp_clients.external_account(command, "127.0.0.1:8123", {})
    line = content["credential_source"]["executable"]["command"]
    assert shlex.split(line) == command
    assert line == '"/opt/my tools/broker" export work --format gcp-executable'
    assert content["token_url"] == "http://127.0.0.1:8123/v1/token"
    assert json.loads(json.dumps(content)) == content


@pytest.mark.parametrize("word", ['a"b', "a\\b", "a$b", "a`b", "a'b", "", "a\nb"])
def test_a_command_that_libraries_would_read_in_different_ways_is_an_error(word: str) -> None:
    """Rather than a file that works with one of them."""
    with pytest.raises(BadRequest):
        gcp_clients.external_account([word], "127.0.0.1:1", {})
