"""The container-credentials endpoint, what `broker-helper --aws` prints, and how programs are told of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.config.structs import CredentialConfig, Endpoints, SourceConfig
from broker.endpoints import aws
from broker.endpoints.control.calls import create_app
from broker.endpoints.control.consumers import ConsumerCalls
from broker.errors import LoginRequired, SourceFailed
from broker.model import Issued, Timing
from broker.platform import Peer
from broker.secret import Secret
from broker.service import report
from broker.service.admission import Caller
from broker.sources.interface import NoSettings, SourceType
from tests.endpoints.conftest import Face, Scripted
from tests.endpoints.faces_world import FacesWorld, aws_session, running
from tests.service.pool_world import PoolOf

HOUR = 3600.0


@pytest.fixture
def scripted() -> dict[str, Scripted]:
    """Give a session `cloud` of an hour, and a key."""
    session = aws_session(time.time() + HOUR, account_id="123456789012", region="eu-west-1")
    return {"cloud": Scripted(session), "key": Scripted(Issued.token("fake-token-1"))}


@pytest.fixture
async def world(tmp_path: Path, scripted: dict[str, Scripted]) -> AsyncIterator[FacesWorld]:
    """Let the face listen."""
    async with running(FacesWorld(tmp_path, scripted)) as found:
        yield found


async def test_a_consumer_gets_the_keys_with_their_true_end(world: FacesWorld) -> None:
    """In the names of the container credential provider."""
    answer = await world.keys()
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["Cache-Control"] == "no-store"
    held = world.broker.keeper("cloud").life.held
    assert held is not None
    assert answer.json() == {
        "AccessKeyId": "AKIAFAKE",
        "SecretAccessKey": "fake/secret+1",
        "Token": "fake-session-1",
        "Expiration": report.timestamp(held.issued.expires_at),
        "AccountId": "123456789012",
    }


async def test_keys_without_an_end_are_said_to_have_one(world: FacesWorld) -> None:
    """The SDKs take none without; within the hour they see that another key is there."""
    parts = {"access_key_id": Secret("AKIAFAKE"), "secret_access_key": Secret("fake/secret+1")}
    world.sources["cloud"].outcome = Issued(parts, None, aws_session().kind)
    found = (await world.keys()).json()
    assert found["Token"] == ""
    assert abs(_seconds_left(found["Expiration"]) - HOUR) < 60


def _seconds_left(moment: str) -> float:
    from datetime import datetime  # noqa: PLC0415  # here alone

    return datetime.fromisoformat(moment).timestamp() - time.time()


@pytest.mark.parametrize("given", ["", "fake", "Bearer {}", "{}0", "other"])
async def test_without_its_own_token_a_consumer_gets_nothing(world: FacesWorld, given: str) -> None:
    """Not even the source is asked."""
    token = world.authorization("key") if given == "other" else given.format(world.authorization())
    answer = await world.get(world.path(), {"Authorization": token})
    assert (answer.status, answer.json()["code"]) == (403, "refused")
    assert world.sources["cloud"].fetches == 0


async def test_what_is_no_session_is_not_handed_out_here(world: FacesWorld) -> None:
    """The guard judged what goes to AWS: a key of Anthropic's it did not."""
    answer = await world.keys("key")
    assert (answer.status, answer.json()["code"]) == (400, "bad-request")
    assert b"fake-token-1" not in answer.body


async def test_a_session_that_is_being_fetched_is_tried_again_in_time(
    world: FacesWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JavaScript's SDK waits a second: it is told to try again before, and finds the session the next time."""
    assert aws.DEADLINE_S < 1.0
    monkeypatch.setattr(aws, "DEADLINE_S", 0.05)
    world.sources["cloud"].gate.clear()
    answer = await world.keys()
    assert (answer.status, answer.json()["Code"]) == (504, "deadline")
    world.sources["cloud"].gate.set()
    while not world.broker.keeper("cloud").life.held:
        await world.keys()
    assert (await world.keys()).status == 200
    assert world.sources["cloud"].fetches == 1


async def test_a_failure_says_which_in_both_spellings(world: FacesWorld) -> None:
    """Small letters are the contract's; JavaScript's SDK reads capitals."""
    world.sources["cloud"].outcome = LoginRequired("sign in; run: broker login corp")
    answer = await world.keys()
    assert answer.status == 401
    assert answer.json()["code"] == answer.json()["Code"] == "needs-login"
    assert answer.json()["message"] == answer.json()["Message"]
    assert "broker login corp" in answer.json()["message"]


async def test_a_locked_daemon_says_so(world: FacesWorld) -> None:
    """Whatever token is shown: before its key is read none can be told from another."""
    await world.keys()
    await world.broker.safe.lock("a person says so")
    assert (await world.keys()).status == 423


@pytest.mark.parametrize(
    ("lifetime_s", "asked_s"), [(4 * HOUR, 1200), (HOUR, 1200), (1700, 1200), (900, 450), (120, 60)]
)
async def test_so_much_life_is_left_that_no_sdk_hammers(world: FacesWorld, lifetime_s: float, asked_s: float) -> None:
    """Twenty minutes, or half of what a short session has; that it is short is no trouble, and no warning."""
    world.sources["cloud"].outcome = aws_session(time.time() + lifetime_s)
    await world.keys()
    keeper = world.broker.keeper("cloud")
    assert aws._ttl_s(keeper) + keeper.life.timing.min_validity_s == pytest.approx(asked_s, abs=2)
    await world.keys()
    assert keeper.life.warnings(world.broker.clock.now()) == []


# --- the control socket -----------------------------------------------------------------------------------------


async def test_the_helper_gets_one_word_to_print(face: Face, sources: dict[str, Scripted]) -> None:
    """The process format, without a blank, so that the helper may copy it as it does a token."""
    sources["work"].outcome = aws_session(time.time() + HOUR)
    answer = await face.get("/v1/aws?credential=work&deadline_ms=5000")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert not set(b" \n\t") & set(answer.body)
    found = answer.json()
    assert found.pop("Expiration").endswith("Z")
    assert found == {
        "Version": 1,
        "AccessKeyId": "AKIAFAKE",
        "SecretAccessKey": "fake/secret+1",
        "SessionToken": "fake-session-1",
    }


async def test_the_helper_gets_nothing_else(face: Face) -> None:
    """A key is not printed where AWS's programs would read it; an unknown name has its own code."""
    answer = await face.get("/v1/aws?credential=work")
    assert (answer.status, answer.headers["X-Broker-Error"]) == (400, "bad-request")
    assert (await face.get("/v1/aws?credential=nobody")).status == 404


async def test_keys_too_long_for_the_helper_are_told_off(world: FacesWorld) -> None:
    """In words, where the helper would only find an odd answer."""
    held = aws_session(time.time() + HOUR)
    world.sources["cloud"].outcome = Issued(
        {**held.parts, "session_token": Secret("x" * 16_384)}, held.expires_at, held.kind
    )
    served = await aws.session(world.broker, "cloud", 5, Caller(Peer(0, 0), wants=held.kind))
    with pytest.raises(SourceFailed, match="longer than 16384"):
        aws.process_document(served, world.broker)


@pytest.fixture
async def calls(world: FacesWorld) -> AsyncIterator[Face]:
    """Have a control socket beside the face that knows of it."""
    app = create_app(world.broker, world.system, dict)
    app.router.add_routes(ConsumerCalls(world.broker, world.faces, world.tokens).routes())
    found = Face(world.folder / "s" / "b.sock", {}, world.system, 10)
    await found.serve(app)
    yield found
    await found.leave()


async def test_a_program_is_told_where_it_is_and_what_would_win(calls: Face, world: FacesWorld) -> None:
    """Exactly what both SDKs read; and it works at once."""
    answer = await calls.post("/v1/consumers", {"credential": "cloud"})
    found = answer.json()
    assert found["problem"] is None
    assert found["lasting"] is True
    assert found["set"].keys() == {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    }
    assert found["set"]["AWS_REGION"] == "eu-west-1"
    assert {"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"} <= set(found["unset"])
    assert not set(found["set"]) & set(found["unset"])
    assert world.sources["cloud"].fetches == 1, "SDKs wait a second: it is in hand before they ask"
    assert b"fake/secret" not in answer.body
    given = found["set"]["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
    path = "/" + found["set"]["AWS_CONTAINER_CREDENTIALS_FULL_URI"].partition("//")[2].partition("/")[2]
    assert (await world.get(path, {"Authorization": given})).status == 200


async def test_what_is_wrong_with_the_credential_is_told_beside(calls: Face, world: FacesWorld) -> None:
    """Who asked decides whether a shell is set up all the same."""
    world.sources["cloud"].outcome = LoginRequired("sign in; run: broker login corp")
    world.broker.keeper("cloud")._kind = aws_session().kind
    found = (await calls.post("/v1/consumers", {"credential": "cloud"})).json()
    assert found["problem"]["code"] == "needs-login"
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in found["set"]


async def test_without_an_endpoint_it_says_what_turns_it_on(calls: Face, world: FacesWorld) -> None:
    """The lines of the config, and the file."""
    await world.faces.follow(Endpoints())
    answer = await calls.post("/v1/consumers", {"credential": "cloud"})
    assert answer.status == 400
    assert b'/nowhere/config.toml [endpoints.aws] and below it listen = "127.0.0.1:0"' in answer.body
    answer = await calls.post("/v1/consumers", {"credential": "key"})
    assert answer.status == 400
    assert b"key is of kind api-key, which no endpoint serves" in answer.body


async def test_a_pool_is_told_apart_with_what_serves_it(calls: Face, world: FacesWorld) -> None:
    """Programs at an endpoint hold on to one identity; the other two ways take a pool."""
    config = world.broker.config
    rota = SourceConfig(
        "rota", SourceType("rota", PoolOf, NoSettings, config.sources["key"].type.open), PoolOf(("key",))
    )
    keys = CredentialConfig("keys", "rota", NoSettings(), Timing(), ())
    sources, credentials = {**config.sources, "rota": rota}, {**config.credentials, "keys": keys}
    world.broker.apply(replace(config, sources=sources, credentials=credentials))
    answer = await calls.post("/v1/consumers", {"credential": "keys"})
    assert answer.status == 400
    assert b"keys is a pool" in answer.body
    assert b"broker exec keys -- CMD, or: broker export keys; its members are key" in answer.body


@pytest.mark.parametrize(("body", "status"), [({}, 400), ({"credential": 7}, 400), ({"credential": "nobody"}, 404)])
async def test_a_malformed_or_unknown_name_is_told_off(calls: Face, body: object, status: int) -> None:
    """As everywhere on the control socket."""
    assert (await calls.post("/v1/consumers", body)).status == status
