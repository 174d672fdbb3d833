"""What Google's clients can rely on at the metadata endpoint; the real ones are in tests/real/test_gcp_endpoint.py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from broker.endpoints.gcp import waiting
from broker.errors import BadRequest, LoginRequired, TransientFetchError
from broker.integrations import gcp_clients
from broker.model import Kind
from tests.endpoints.conftest import Answer
from tests.endpoints.gcp_world import EMAIL, OTHER_EMAIL, Google, Settings, World, serving

DEFAULT = "instance/service-accounts/default/"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Give an endpoint that serves one credential of a Google account."""
    async with serving() as running:
        yield running


async def token(world: World, path: str = DEFAULT + "token") -> str:
    """Ask for a token, and return it."""
    answer = await world.metadata(path)
    assert answer.status == 200, answer.body
    return str(answer.json()["access_token"])


async def test_clients_get_a_token_with_the_true_rest_of_its_life(world: World) -> None:
    """As the real server writes it; who asks next gets the same one, from memory."""
    answer = await world.metadata(DEFAULT + "token")
    told = answer.json()
    assert (told["access_token"], told["token_type"]) == ("fake-scope-a+scope-b-1", "Bearer")
    assert 3590 <= told["expires_in"] <= 3600
    assert (await world.metadata(DEFAULT + "token")).json()["access_token"] == told["access_token"]
    assert len(world.google.asked) == 1


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/", 200),
        ("/computeMetadata/v1/instance", 200),
        ("/computeMetadata/v1/" + DEFAULT + "token", 200),
        ("/computeMetadata/v1/project", 301),
        ("/computeMetadata/v1/instance/zone", 404),
        ("/computeMetadata/v1/instance/service-accounts/nobody@x/token", 404),
        ("/computeMetadata/v1/" + DEFAULT + "token?alt=xml", 400),
        ("/computeMetadata/v1/" + DEFAULT + "identity", 400),
        ("/latest/meta-data/", 404),
    ],
)
async def test_every_answer_is_marked_as_a_metadata_servers(world: World, target: str, status: int) -> None:
    """Clients take no other for one, errors included; nothing of it is for a cache."""
    answer = await world.get(target)
    assert answer.status == status
    assert answer.headers["Metadata-Flavor"] == "Google"
    assert answer.headers["Server"] == "Metadata Server for VM"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {"Metadata_Flavor": ""},
        {"Metadata_Flavor": "google"},
        {"X_Forwarded_For": "10.0.0.1"},
        {"Origin": "https://evil.example"},
        {"Host": "evil.example"},
        {"Host": "metadata.google.internal"},
    ],
)
@pytest.mark.parametrize("target", ["/", "/computeMetadata/v1/" + DEFAULT + "token"])
async def test_browsers_proxies_and_deceived_programs_get_403(
    world: World, target: str, headers: dict[str, str]
) -> None:
    """A web page that has its name point here, a server that fetches whatever it is told to."""
    answer = await world.get(target, **headers)
    assert answer.status == 403
    assert answer.headers["Metadata-Flavor"] == "Google"
    assert b"fake-" not in answer.body
    assert world.google.asked == []


async def test_another_users_process_is_told_nothing_at_all(world: World) -> None:
    """Not even that somebody answers here."""
    world.consumers.stranger = True
    for target in ("/", "/computeMetadata/v1/instance", "/computeMetadata/v1/" + DEFAULT + "token"):
        assert (await world.get(target)).status == 403
    assert world.google.asked == []


async def test_nothing_but_get_is_answered(world: World) -> None:
    """There is nothing here to change."""
    for method in ("POST", "PUT", "DELETE"):
        answer = await world.call(method, "/computeMetadata/v1/" + DEFAULT + "token", b"", Metadata_Flavor="Google")
        assert (answer.status, answer.headers["Metadata-Flavor"]) == (405, "Google")


async def test_an_account_is_described(world: World) -> None:
    """What google-auth reads before it asks for the token, under either name."""
    told = {"aliases": ["default"], "email": EMAIL, "scopes": ["scope-a", "scope-b"]}
    assert (await world.metadata(DEFAULT + "?recursive=true")).json() == told
    assert (await world.metadata(f"instance/service-accounts/{EMAIL}/?recursive=true")).json() == told
    assert (await world.metadata(DEFAULT + "email")).body == EMAIL.encode()
    assert (await world.metadata("instance/service-accounts/")).body == f"default/\n{EMAIL}/\n".encode()
    whole = (await world.metadata("?recursive=true")).json()
    assert whole["instance"]["serviceAccounts"]["default"] == told
    assert whole["project"] == {"projectId": "proj-1", "numericProjectId": 1234}


async def test_the_project_and_the_universe_are_told(world: World) -> None:
    """What clients fill in where their user names no project."""
    assert (await world.metadata("project/project-id")).body == b"proj-1"
    assert (await world.metadata("project/numeric-project-id")).body == b"1234"
    assert (await world.metadata("universe/universe-domain")).body == b"googleapis.com"
    world.google.facts = {"universe_domain": "apis.example", "project_number": "x"}
    await world.broker.keeper("vertex").refresh()
    assert (await world.metadata("universe/universe-domain")).body == b"apis.example"
    assert (await world.metadata("project/project-id")).status == 404
    assert (await world.metadata("project/numeric-project-id")).status == 404


async def test_detection_asks_no_source(world: World) -> None:
    """It is answered at once, whatever state Google is in."""
    world.google.gate.clear()
    for path in ("", "instance", "instance/"):
        assert (await world.metadata(path)).status == 200
    assert (await world.get("/")).body == b"computeMetadata/\n"
    assert world.google.asked == []


async def test_a_directory_without_its_slash_is_moved_with_its_query(world: World) -> None:
    """As the real server does, and its clients follow."""
    answer = await world.metadata("instance/service-accounts/default?recursive=true")
    assert answer.status == 301
    assert answer.headers["Location"] == "/computeMetadata/v1/instance/service-accounts/default/?recursive=true"
    assert (await world.get(answer.headers["Location"])).json()["email"] == EMAIL


async def test_fewer_scopes_are_granted_and_more_are_not(world: World) -> None:
    """The token is good for what was asked, as far as the config allows it."""
    assert await token(world, DEFAULT + "token?scopes=scope-a") == "fake-scope-a-1"
    assert await token(world, DEFAULT + "token?scopes=scope-a,scope-x") == "fake-scope-a-1"
    assert await token(world, DEFAULT + "token?scopes=scope-x") == "fake-scope-a+scope-b-2"
    assert world.google.asked == [Settings(("scope-a",)), Settings()]


async def test_an_id_token_is_made_for_the_audience_that_is_asked_for(world: World) -> None:
    """As text; who asks again for the same one gets it from memory."""
    for _ in range(2):
        answer = await world.metadata(DEFAULT + "identity?audience=https://run.example&format=full")
        assert (answer.status, answer.body) == (200, b"fake-https://run.example-1")
        assert answer.headers["Content-Type"] == "application/text"
    assert len(world.google.asked) == 1


async def test_other_accounts_are_found_by_their_e_mail() -> None:
    """Also one that nobody has asked for yet, whose e-mail only its source knows."""
    credentials = {
        "vertex": Google(),
        "reader": Google(facts={"email": OTHER_EMAIL}),
        "broken": Google(failure=TransientFetchError("the network is down")),
        "nameless": Google(facts={}),
    }
    async with serving(credentials, default="vertex") as world:
        assert await token(world, f"instance/service-accounts/{OTHER_EMAIL}/token") == "fake-scope-a+scope-b-1"
        assert (await world.metadata("instance/service-accounts/nameless/email")).body == b"nameless"
        assert (await world.metadata("instance/service-accounts/nobody@x/email")).status == 404
        listed = (await world.metadata("instance/service-accounts/")).body.decode().split()
        assert listed == ["default/", f"{EMAIL}/", f"{OTHER_EMAIL}/", "broken/", "nameless/"]


async def test_with_several_accounts_the_config_must_say_which_is_the_default() -> None:
    """And the error names the line; by their e-mails they are there."""
    async with serving({"one": Google(), "two": Google(facts={"email": OTHER_EMAIL})}) as world:
        answer = await world.metadata(DEFAULT + "token")
        assert answer.status == 404
        assert b"[endpoints.gcp] credential" in answer.body
        assert await token(world, f"instance/service-accounts/{OTHER_EMAIL}/token")


async def test_any_credential_can_be_the_default_account() -> None:
    """A company's own command, say: it has no e-mail and no other scopes, and clients get its token as it is."""
    async with serving(
        {"cmd": Google(facts={}, kind=Kind.API_KEY, life_s=None)}, default="cmd", type_name="command"
    ) as world:
        told = (await world.metadata(DEFAULT + "token?scopes=scope-a")).json()
        assert told == {"access_token": "fake-scope-a+scope-b-1", "expires_in": 600, "token_type": "Bearer"}
        assert (await world.metadata(DEFAULT + "email")).body == b"cmd"
        assert (await world.metadata("instance/service-accounts/cmd/?recursive=true")).json()["email"] == "cmd"
        assert (await world.metadata(DEFAULT + "identity?audience=x")).status == 400


@pytest.mark.parametrize(
    ("failure", "status"),
    [(TransientFetchError("the network is down"), 503), (LoginRequired("run: broker login google"), 401)],
)
async def test_a_failure_is_told_in_words_and_only_what_may_pass_is_retried(
    world: World, failure: Exception, status: int
) -> None:
    """Clients ask again after 503, and show their user what else they are told."""
    world.google.failure = failure
    answer = await world.metadata(DEFAULT + "token")
    assert answer.status == status
    assert str(failure) in answer.body.decode()


async def test_a_slow_source_is_a_503_before_the_clients_patience_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They ask again; what Google says meanwhile is theirs then."""
    monkeypatch.setattr("broker.endpoints.gcp.look.DEADLINE_S", 0.05)
    world.google.gate.clear()
    assert (await world.metadata(DEFAULT + "token")).status == 503
    world.google.gate.set()
    await world.broker.keeper("vertex").settled()
    assert await token(world) == "fake-scope-a+scope-b-1"


# --- waiting for a change ---------------------------------------------------------------------------------------


async def waiting_for(world: World, path: str) -> asyncio.Task[Answer]:
    """Start to ask; return once the request waits."""
    task = asyncio.create_task(world.metadata(path))
    async with asyncio.timeout(10):
        while not world.face.waiting and not task.done():
            await asyncio.sleep(0.01)
    assert not task.done(), task.result().body
    return task


async def test_who_waits_for_a_change_gets_the_next_token(world: World) -> None:
    """And not the one that it knows by its ETag."""
    first = await world.metadata(DEFAULT + "token")
    etag = first.headers["ETag"]
    waiter = await waiting_for(world, f"{DEFAULT}token?wait_for_change=true&last_etag={etag}")
    await world.broker.keeper("vertex").refresh()
    answer = await waiter
    assert answer.json()["access_token"] == "fake-scope-a+scope-b-2"
    assert answer.headers["ETag"] != etag


async def test_who_knows_something_older_is_answered_at_once(world: World) -> None:
    """Also who knows nothing: `last_etag=0` is how clients begin."""
    answer = await world.metadata(DEFAULT + "email?wait_for_change=true&last_etag=0")
    assert answer.body == EMAIL.encode()


async def test_after_its_time_a_waiter_gets_what_there_is(world: World) -> None:
    """`timeout_sec`, in whole seconds."""
    answer = await world.metadata(DEFAULT + "email?wait_for_change=true&timeout_sec=0")
    assert (answer.status, answer.body) == (200, EMAIL.encode())
    assert (await world.metadata(DEFAULT + "email?wait_for_change=true&timeout_sec=-1")).status == 400


async def test_the_daemons_end_is_no_waiters_end_of_patience(world: World) -> None:
    """A waiter holds nothing up: it is answered with what there is."""
    waiter = await waiting_for(world, DEFAULT + "email?wait_for_change=true")
    world.broker.bus.close()
    assert (await waiter).body == EMAIL.encode()


async def test_more_waiters_than_a_few_are_sent_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that forgets its waiters must not take every connection; others are served all the same."""
    monkeypatch.setattr(waiting, "WAITERS_MAX", 1)
    waiter = await waiting_for(world, DEFAULT + "email?wait_for_change=true")
    assert (await world.metadata(DEFAULT + "email?wait_for_change=true")).status == 503
    assert await token(world)
    world.broker.bus.close()
    await waiter


async def test_a_waiter_that_leaves_makes_room(world: World) -> None:
    """Its place is free at once, though nothing has changed."""
    host, port = world.address.rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port))
    path = f"/computeMetadata/v1/{DEFAULT}email?wait_for_change=true"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {world.address}\r\nMetadata-Flavor: Google\r\n\r\n".encode())
    async with asyncio.timeout(10):
        while not world.face.waiting:
            await asyncio.sleep(0.01)
        writer.close()
        while world.face.waiting:
            await asyncio.sleep(0.01)


# --- how programs are told ----------------------------------------------------------------------------------------


async def test_programs_are_told_where_it_is_and_of_the_project(world: World) -> None:
    """What would win over it is taken away."""
    await token(world)
    told = world.face.variables("vertex", world.address)
    assert told.set == {
        "GCE_METADATA_HOST": world.address,
        "GCE_METADATA_IP": world.address,
        "GCE_METADATA_ROOT": world.address,
        "METADATA_SERVER_DETECTION": "assume-present",
        "GOOGLE_CLOUD_PROJECT": "proj-1",
        "GCLOUD_PROJECT": "proj-1",
        "CLOUDSDK_CORE_PROJECT": "proj-1",
    }
    assert {"GOOGLE_APPLICATION_CREDENTIALS", "NO_GCE_CHECK"} <= set(told.unset)


async def test_programs_cannot_be_told_of_another_account_than_the_default() -> None:
    """Most clients name none, and would get the wrong one."""
    async with serving({"one": Google(), "two": Google()}, default="one") as world:
        with pytest.raises(BadRequest, match='credential = "two"'):
            world.face.variables("two", world.address)


async def test_what_the_config_names_is_served_whatever_its_kind() -> None:
    """A command's token, say; and every access token of Google's, but nothing else that nobody named."""
    credentials = {"cmd": Google(kind=Kind.API_KEY), "google": Google(), "key": Google(kind=Kind.API_KEY)}
    async with serving(credentials, default="cmd") as world:
        assert [name for name in credentials if world.face.serves(name)] == ["cmd", "google"]


def test_a_quota_project_goes_along() -> None:
    """As a credentials file would say it."""
    assert gcp_clients.variables("a:1", {"quota_project": "q"})["GOOGLE_CLOUD_QUOTA_PROJECT"] == "q"
    assert json.dumps(gcp_clients.external_account(["/b"], "a:1", {"quota_project": "q"})).count('"q"') == 1
