"""One sign-in for all sources of an Identity Center, refreshed once for all; and what is kept of it, mostly with the AWS CLI."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from broker.errors import LoginRequired, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from tests.contracts.source_contract import PATIENCE_S, eventually, failure
from tests.fakes.context import FakeContext
from tests.fakes.json_server import Answer
from tests.fakes.sso import ACCOUNT, REGION, ROLE, START_URL, file_of, moment, written
from tests.sources.aws.sso.place import FILE, Place, by_device, fetcher, session_token


def _written(moment: float, form: str) -> str:
    return time.strftime(form, time.gmtime(moment))


# --- one for all ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
async def test_one_sign_in_serves_twenty_sources_and_is_refreshed_once(place: Place, *, shared: bool) -> None:
    """Whatever their accounts and roles; kept by the AWS CLI's way or ours."""
    roles = [f"Role{number}" for number in range(20)]
    place.sso.roles |= {(ACCOUNT, role) for role in roles}
    sources = [place.source(role_name=role, shared_cache=shared) for role in roles]
    place.sso.token_s = 600  # so short that it is refreshed before use
    await by_device(sources[0])
    place.sso.token_s = 3600
    issued = await asyncio.gather(*(fetcher(source).fetch() for source in sources))
    assert {each.details["role"] for each in issued} == set(roles)
    assert place.sso.calls["CreateToken"] == 2
    assert place.sso.calls["GetRoleCredentials"] == 20


async def test_a_token_is_refreshed_when_it_is_old_or_refused(place: Place) -> None:
    """No person is needed for either."""
    source = place.source()
    place.sso.sign_in(Path.home())
    made = fetcher(source)
    await made.fetch()
    place.sso.expire()  # the portal refuses it, though its time is not over
    source.chain.forget()
    await made.fetch()
    assert place.sso.calls["CreateToken"] == 1
    (token,) = written(Path.home()).values()
    assert token["accessToken"] in place.sso.tokens
    assert token["refreshToken"] in place.sso.refreshable


async def test_while_aws_fails_a_token_that_lives_is_used(place: Place) -> None:
    """A refresh ahead of time that fails is nobody's concern; a dead token's is told, and passes."""
    source = place.source()
    place.sso.token_s = 600
    place.sso.sign_in(Path.home())
    place.sso.said["CreateToken"] = ["InternalServerException"] * 6
    await fetcher(source).fetch()
    place.sso.expire()
    source.chain.forget()
    error = await failure(fetcher(source))
    assert isinstance(error, TransientFetchError)
    assert "AWS fails" in str(error)
    source.chain.forget()
    await fetcher(source).fetch()


async def test_a_sign_in_that_has_ended_needs_a_person(place: Place) -> None:
    """The administrator ended it; after the next sign-in all is well."""
    source = place.source()
    await by_device(source)
    place.sso.end()
    made = fetcher(source)
    error = await failure(made)
    assert isinstance(error, LoginRequired)
    assert str(error).endswith("the sign-in has ended; run: broker login corp")
    await by_device(source)
    assert session_token(await made.fetch())


async def test_a_portal_that_refuses_a_new_token_too_needs_a_person(place: Place) -> None:
    """Once is tried, and no more."""
    source = place.source()
    place.sso.sign_in(Path.home())
    place.sso.said["GetRoleCredentials"] = ["UnauthorizedException"] * 2
    error = await failure(fetcher(source))
    assert isinstance(error, LoginRequired)
    assert str(error).endswith("the sign-in has ended; run: broker login corp")
    assert (place.sso.calls["CreateToken"], place.sso.calls["GetRoleCredentials"]) == (1, 2)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, "<html>fake-secret-page</html>"),
        Answer(200, {}),
        Answer(200, []),
        Answer(200, {"accessToken": "fake-token-1", "expiresIn": "soon"}),
        Answer(200, {"accessToken": "fake-token-1", "expiresIn": 10**30}),
        Answer(200, {"accessToken": "fake token 1", "expiresIn": 60}),
        Answer(200, {"accessToken": {"fake-token-1": 1}, "expiresIn": 60}),
        Answer(404, "<html>fake-secret-page</html>"),
        Answer(302, "", {"Location": "http://127.0.0.1:1/fake-secret"}),
    ],
)
async def test_an_answer_that_is_none_is_told_as_such(place: Place, answer: Answer) -> None:
    """A proxy's page, say; nothing of it is shown, and nothing is lost."""
    source = place.source()
    place.sso.token_s = 600
    place.sso.sign_in(Path.home())
    before = written(Path.home())
    place.sso.expire()
    (token,) = before.values()
    token["expiresAt"] = moment(0)
    (Path.home() / ".aws/sso/cache" / FILE).write_text(json.dumps(token))
    place.sso.scripted = [answer] * 2
    error = await failure(fetcher(source))
    assert "fake" not in str(error)
    assert not isinstance(error, LoginRequired)
    assert list(written(Path.home()).values()) == [token]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("then", ["closed", "signed in", "signed out"])
async def test_a_refresh_under_way_spoils_nothing(place: Place, home: Path, then: str, *, shared: bool) -> None:
    """Who closes the source waits for it to be stored; a new sign-in wins over it, and so does signing out."""
    context = FakeContext()
    source = place.source(context, shared_cache=shared)
    place.sso.token_s = 600
    await by_device(source)
    place.sso.token_s = 3600
    invitation = await source.begin_login(None)
    refreshing, go_on, created = threading.Event(), threading.Event(), place.sso.calls["CreateToken"]
    give = place.sso.create_token

    def held(given: dict[str, Any]) -> dict[str, Any]:
        if given["grantType"] == "refresh_token":
            refreshing.set()
            place.sso.lock.release()  # others are answered meanwhile
            go_on.wait(PATIENCE_S)
            place.sso.lock.acquire()
        return give(given)

    place.sso.create_token = held  # type: ignore[method-assign]
    fetching = asyncio.create_task(fetcher(source).fetch())
    await eventually(refreshing.is_set)
    acts = {
        "closed": source.close,
        "signed in": lambda: source.finish_login(invitation.state, None),
        "signed out": source.logout,
    }
    acting = asyncio.ensure_future(acts[then]())
    await asyncio.wait({acting}, timeout=0.1)
    assert not acting.done()
    go_on.set()
    await asyncio.gather(acting, fetching, return_exceptions=True)
    kept = list(written(home).values())
    if not shared and context.login.record is not None:
        kept = [json.loads(context.login.record.reveal())]
    by_refresh = [place.sso.refreshable[each["refreshToken"]] is not None for each in kept]
    assert by_refresh == {"closed": [True], "signed in": [False], "signed out": []}[then]
    assert place.sso.calls["CreateToken"] == created + (2 if then == "signed in" else 1)


async def test_what_the_portal_refuses_is_told_in_words(place: Place) -> None:
    """And none of it repeats a token, though AWS does."""
    source = place.source()
    place.sso.sign_in(Path.home())
    no_role = f"you have no role {ROLE} in account {ACCOUNT}"
    for said, expected, says in (
        ("ForbiddenException", PermanentFetchError, no_role),
        ("ResourceNotFoundException", PermanentFetchError, no_role),
        ("TooManyRequestsException", TransientFetchError, "asked too often"),
        ("InvalidRequestException", PermanentFetchError, "check start_url and region"),
    ):
        place.sso.said["GetRoleCredentials"] = [said] * 2
        source.chain.forget()
        error = await failure(fetcher(source))
        assert type(error) is expected
        assert says in str(error)
        assert "fake-" not in str(error)
        place.sso.said.clear()


# --- what is kept -----------------------------------------------------------------------------------------------


async def test_the_aws_cli_finds_our_sign_in_where_it_keeps_its_own(place: Place, home: Path) -> None:
    """Its file, for its owner alone, with all that it needs to refresh it."""
    source = place.source()
    assert await by_device(source)
    ((name, token),) = written(home).items()
    assert name == FILE
    assert stat.S_IMODE((home / ".aws/sso/cache" / FILE).stat().st_mode) == 0o600
    assert set(token) == {
        "startUrl", "region", "accessToken", "expiresAt", "refreshToken",
        "clientId", "clientSecret", "registrationExpiresAt",
    }  # fmt: skip
    assert (token["startUrl"], token["region"]) == (START_URL, REGION)
    assert token["expiresAt"].endswith("Z")


async def test_a_sign_in_of_the_aws_cli_is_ours_too(place: Place, home: Path) -> None:
    """Under the name of its sso-session, found by the start URL; of whatever age the AWS CLI is."""
    (home / ".aws/sso/cache").mkdir(parents=True)
    (home / ".aws/config").write_text(
        "[sso-session other]\nsso_start_url = https://other.example/start\nsso_region = eu-central-1\n"
        f"[sso-session work]\nsso_start_url = {START_URL}/\nsso_region = {REGION}\n"
    )
    source = place.source()
    made = fetcher(source)
    assert isinstance(await failure(made), LoginRequired)
    place.sso.tokens["fake-cli-token"] = time.time() + 3600
    token = {"startUrl": f"{START_URL}/", "region": REGION, "accessToken": "fake-cli-token"}
    file = home / ".aws/sso/cache" / file_of("work")
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%SUTC", "%Y-%m-%dT%H:%M:%S+00:00"):
        file.write_text(json.dumps(token | {"expiresAt": _written(time.time() + 3600, form)}))
        assert made.changed()
        source.chain.forget()
        assert session_token(await made.fetch())
        file.unlink()
        source.chain.forget()
        assert isinstance(await failure(made), LoginRequired)
    await by_device(source)
    assert list(written(home)) == [file.name]


async def test_who_is_slower_to_refresh_than_the_aws_cli_takes_what_that_got(place: Place, home: Path) -> None:
    """A refresh token is good for one use, and both have the same."""
    source = place.source()
    place.sso.sign_in(Path.home())
    file = home / ".aws/sso/cache" / FILE
    theirs = json.loads(file.read_text()) | {"accessToken": "fake-cli-token"}
    place.sso.end()
    place.sso.tokens["fake-cli-token"] = time.time() + 3600
    refreshed = place.sso.create_token

    def meanwhile(given: dict[str, Any]) -> dict[str, Any]:
        file.write_text(json.dumps(theirs))
        return refreshed(given)

    place.sso.create_token = meanwhile  # type: ignore[method-assign]
    assert session_token(await fetcher(source).fetch())


@pytest.mark.slow
async def test_a_broken_or_foreign_file_is_as_good_as_none(place: Place, home: Path) -> None:
    """A token goes only where it came from; signing in mends the file."""
    good = {"accessToken": "x", "expiresAt": "2099-01-01T00:00:00Z"}
    broken = [
        *("", "[]", "{", "\x00", "\udcff", "[" * 100_000),
        *(
            json.dumps(good | wrong)
            for wrong in (
                {"accessToken": 1},
                {"accessToken": "x\ny"},
                {"expiresAt": "never"},
                {"expiresAt": None},
                {"startUrl": "https://evil.example/start"},
                {"region": "us-west-2"},
            )
        ),
    ]
    (home / ".aws/sso/cache").mkdir(parents=True)
    source = place.source()
    for content in broken:
        (home / ".aws/sso/cache" / FILE).write_bytes(content.encode(errors="surrogateescape"))
        source.chain.forget()
        assert isinstance(await failure(fetcher(source)), LoginRequired)
    assert not place.sso.calls
    await by_device(source)
    assert session_token(await fetcher(source).fetch())


async def test_a_folder_that_nobody_can_write_to_costs_the_sign_in_at_the_daemons_end(place: Place, home: Path) -> None:
    """It is said, and serves as long as the source lives; a refresh that cannot be written down too."""
    (home / ".aws").write_text("in the way")
    source = place.source()
    place.sso.token_s = 600
    assert not await by_device(source)
    for _ in range(2):
        source.chain.forget()
        assert session_token(await fetcher(source).fetch())
    await source.close()
    assert isinstance(await failure(fetcher(place.source())), LoginRequired)


async def test_on_request_the_encrypted_store_alone_has_it(place: Place, home: Path) -> None:
    """No file is written; the next daemon has it; a source that comes later or stays on has it too."""
    contexts = [FakeContext(), FakeContext()]
    sources = [place.source(context, shared_cache=False) for context in contexts]
    assert await by_device(sources[0])
    assert not (home / ".aws").exists()
    for source in sources:
        await source.close()
    again = place.source(contexts[1], shared_cache=False)
    assert session_token(await fetcher(again).fetch())
    contexts[1].login.stores = False
    assert not await by_device(again)
    assert session_token(await fetcher(again).fetch())
    await again.close()
    broken = FakeContext()
    broken.login.record = Secret("{")
    assert isinstance(await failure(fetcher(place.source(broken, shared_cache=False))), LoginRequired)


async def test_a_lock_that_overtakes_a_sign_in_keeps_nothing_of_it(place: Place, home: Path) -> None:
    """It says what to do."""
    source = place.source()
    invitation = await source.begin_login(None)
    place.sso.gate.clear()
    finishing = asyncio.create_task(source.finish_login(invitation.state, None))
    await asyncio.sleep(0.01)
    await source.close()
    place.sso.gate.set()
    with pytest.raises((TransientFetchError, PermanentFetchError), match="sign in once more"):
        await finishing
    assert not written(home)
