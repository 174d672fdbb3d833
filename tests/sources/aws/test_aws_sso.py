"""The `aws` source's sign-in at IAM Identity Center, over a fake one that botocore's own model checks."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.credentials import SSOProvider
from botocore.tokens import SSOTokenProvider

from broker.errors import LoginPending, LoginRequired, PermanentFetchError, TransientFetchError
from broker.model import Issued
from broker.secret import Secret
from broker.sources.aws.session import Session
from broker.sources.aws.settings import AwsSettings, AwsSourceSettings
from broker.sources.aws.source import AwsSource
from broker.sources.aws.sso.settings import SsoSettings
from broker.sources.interface import Fetcher
from tests.contracts.source_contract import PATIENCE_S, AnySource, Harness, SourceThatWaits, eventually, failure
from tests.fakes.context import FakeContext
from tests.fakes.json_server import Answer
from tests.fakes.sso import ACCOUNT, REGION, ROLE, START_URL, USER_CODE, FakeSso, fake_sso, file_of, moment, written

FILE = file_of(START_URL)
BACK = "http://127.0.0.1:4711/oauth/callback"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a home of its own, and nothing of AWS's in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def sso(home: Path) -> Iterator[FakeSso]:
    """Give an Identity Center whose person confirms what is asked."""
    with fake_sso() as made:
        made.confirmed = True
        yield made


@dataclass
class Place:
    """Sources at one Identity Center, each with a context of its own."""

    sso: FakeSso
    sources: list[AwsSource] = field(default_factory=list)

    def source(self, context: FakeContext | None = None, **settings: Any) -> AwsSource:  # noqa: ANN401  # any setting
        """Open one."""
        wanted = {"start_url": START_URL, "region": REGION, "account_id": ACCOUNT, "role_name": ROLE, **settings}
        made = AwsSource(
            AwsSourceSettings(sso=SsoSettings(**wanted), endpoint_url=self.sso.url, region="us-east-1"),
            context or FakeContext(),
        )
        self.sources.append(made)
        return made


@pytest.fixture
async def place(sso: FakeSso) -> AsyncIterator[Place]:
    """Give a place for sources."""
    made = Place(sso)
    yield made
    sso.gate.set()
    for source in made.sources:
        await source.close()


def fetcher(source: AwsSource) -> Fetcher:
    """Bind the session itself."""
    return source.fetcher(AwsSettings(), "work")


async def by_device(source: AwsSource) -> bool:
    """Sign in by a code that is confirmed already."""
    invitation = await source.begin_login(None)
    return await source.finish_login(invitation.state, None)


def _written(moment: float, form: str) -> str:
    return time.strftime(form, time.gmtime(moment))


def session_token(issued: Issued) -> str:
    """Reveal it."""
    return issued.parts["session_token"].reveal()


class TestSsoSource(AnySource, SourceThatWaits):
    """It keeps what every source promises."""

    @pytest.fixture
    def harness(self, place: Place) -> Harness:
        """Drive one that somebody is signed in to."""
        source = place.source()
        place.sso.sign_in(Path.home())

        class Driven(Harness):
            def fetcher(self) -> Fetcher:
                return fetcher(source)

            def hang(self) -> None:
                place.sso.gate.clear()

            def release(self) -> None:
                place.sso.gate.set()

        return Driven()


# --- signing in -------------------------------------------------------------------------------------------------


async def test_a_device_code_is_shown_and_asked_about(place: Place) -> None:
    """As long as nobody confirms it, it is pending; then account and role give keys, and nothing is asked twice."""
    source = place.source()
    assert source.sign_in is not None
    assert source.sign_in.device
    place.sso.confirmed = None
    invitation = await source.begin_login(None)
    assert (invitation.user_code, invitation.interval_s, invitation.expires_in_s) == (USER_CODE, 1.0, 600.0)
    assert invitation.complete_url == f"{invitation.url}?user_code={USER_CODE}"
    for said, slower in (([], False), (["SlowDownException"], True)):
        place.sso.said = {"CreateToken": list(said)}
        with pytest.raises(LoginPending) as caught:
            await source.finish_login(invitation.state, None)
        assert caught.value.slow_down == slower
    place.sso.confirmed = True
    assert await source.finish_login(invitation.state, None)
    issued = await fetcher(source).fetch()
    assert session_token(issued).startswith("fake-session-token-")
    assert (issued.details["account_id"], issued.details["role"]) == (ACCOUNT, ROLE)
    assert issued.expires_at == pytest.approx(time.time() + 3600, abs=5)
    assert place.sso.calls["GetRoleCredentials"] == 1


async def test_a_browser_brings_the_code_back_and_pkce_ties_it_to_us(place: Place) -> None:
    """To the AWS CLI's page, on any port; the verifier stays in the daemon."""
    source = place.source()
    assert source.sign_in is not None
    assert source.sign_in.page is not None
    assert (source.sign_in.page.host, source.sign_in.page.port) == ("127.0.0.1", 0)
    assert urlsplit(BACK).path == source.sign_in.page.path
    invitation = await source.begin_login(BACK)
    assert invitation.user_code is None
    back = parse_qs(urlsplit(place.sso.allow(invitation.url)).query)
    assert back["state"] == [invitation.state]
    assert await source.finish_login(invitation.state, back["code"][0])
    assert session_token(await fetcher(source).fetch())


async def test_an_answer_counts_once_and_only_for_what_was_begun(place: Place) -> None:
    """A page that brings a code of somebody else's has us act as nobody."""
    source = place.source()
    with pytest.raises(PermanentFetchError, match="belongs to no sign-in that was begun; run: broker login corp"):
        await source.finish_login("fake-state", "fake-code")
    invitation = await source.begin_login(BACK)
    with pytest.raises(PermanentFetchError, match="belongs to no sign-in"):
        await source.finish_login("other-state", "fake-code")
    with pytest.raises(LoginRequired, match="run: broker login corp"):
        await source.finish_login(invitation.state, "stolen-code")
    with pytest.raises(PermanentFetchError, match="belongs to no sign-in"):
        await source.finish_login(invitation.state, "fake-code")
    assert not place.sso.tokens


@pytest.mark.parametrize(
    ("confirmed", "said", "says"),
    [
        (False, [], "the sign-in was refused; to try again run: broker login corp"),
        (True, ["ExpiredTokenException"], "nobody confirmed the code in time; run: broker login corp"),
    ],
)
async def test_what_ends_a_sign_in_names_the_command(
    place: Place, *, confirmed: bool, said: list[str], says: str
) -> None:
    """Refused by the person, or too late."""
    source = place.source()
    place.sso.confirmed = confirmed
    invitation = await source.begin_login(None)
    place.sso.said["CreateToken"] = said
    with pytest.raises(LoginRequired, match=says):
        await source.finish_login(invitation.state, None)


async def test_nobody_signed_in_names_the_command_and_asks_aws_nothing(place: Place) -> None:
    """However many ask; after the sign-in each is served at once, also by another source."""
    sources = [place.source(), place.source()]
    fetchers = [fetcher(source) for source in sources]
    for each in fetchers:
        error = await failure(each)
        assert isinstance(error, LoginRequired)
        assert "nobody is signed in; run: broker login corp" in str(error)
        assert not each.changed()
    assert not place.sso.calls
    await by_device(sources[0])
    assert fetchers[1].changed()
    assert session_token(await fetchers[0].fetch()) != session_token(await fetchers[1].fetch())


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


# --- by the AWS CLI's own profiles ------------------------------------------------------------------------------


async def test_a_profile_with_sso_is_signed_in_to_as_by_the_aws_cli(
    sso: FakeSso, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Botocore finds, and refreshes, what either has left; when that has ended, both commands are named."""
    for name in ("SSO", "SSO_OIDC"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", sso.url)
    for provider in (SSOProvider, SSOTokenProvider):  # they have looked for the home when they were loaded
        monkeypatch.setattr(provider, "_SSO_TOKEN_CACHE_DIR", str(home / ".aws/sso/cache"))
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text(
        f"[sso-session corp]\nsso_start_url = {START_URL}\nsso_region = {REGION}\n"
        f"[profile me]\nsso_session = corp\nsso_account_id = {ACCOUNT}\nsso_role_name = {ROLE}\nregion = us-east-1\n"
    )
    source = AwsSource(AwsSourceSettings(profile="me"), FakeContext())
    monkeypatch.setattr(source.chain, "_identified", _as_it_is)
    made = fetcher(source)
    error = await failure(made)
    assert isinstance(error, LoginRequired)
    assert str(error).endswith("run: aws sso login --profile me (or: broker login corp)")
    sso.token_s = 600
    assert await by_device(source)
    assert list(written(home)) == [file_of("corp")]
    assert session_token(await made.fetch())
    assert sso.calls["CreateToken"] == 2
    sso.end()
    source.chain.forget()
    assert isinstance(await failure(made), LoginRequired)
    sso.sign_in(home, "corp")
    assert made.changed()
    assert session_token(await made.fetch())
    assert await source.logout()
    assert not written(home)
    await source.close()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("", "it has no SSO settings|there is no AWS profile me"),
        ("[profile me]\nregion = us-east-1\n", "it has no SSO settings"),
        ("[profile me]\nsource_profile = you\n[profile you]\nsource_profile = me\n", "it has no SSO settings"),
        ("[profile me]\nsso_account_id = 1\nsso_start_url = https://x.example\n", "AWS profile me: region must"),
        ("[profile", "cannot be read as an AWS config file"),
    ],
)
async def test_a_profile_without_sso_says_so(sso: FakeSso, home: Path, config: str, says: str) -> None:
    """To who wants to sign in to it."""
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text(config)
    source = AwsSource(AwsSourceSettings(profile="me"), FakeContext())
    for asking in (source.begin_login(None), source.finish_login("x", None), source.logout()):
        with pytest.raises(PermanentFetchError, match=says):
            await asking
    await source.close()


async def test_a_profile_of_old_is_found_by_the_start_url(sso: FakeSso, home: Path) -> None:
    """Also where a role is assumed by it."""
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text(
        f"[profile base]\nsso_start_url = {START_URL}\nsso_region = {REGION}\n"
        f"sso_account_id = {ACCOUNT}\nsso_role_name = {ROLE}\n"
        f"[sso-session other]\nsso_start_url = {START_URL}\nsso_region = {REGION}\n"
        "[profile me]\nrole_arn = arn:aws:iam::111111111111:role/x\nsource_profile = base\n"
    )
    source = AwsSource(AwsSourceSettings(profile="me", endpoint_url=sso.url), FakeContext())
    assert await by_device(source)
    assert list(written(home)) == [FILE]
    await source.close()


async def test_other_identities_have_no_sign_in() -> None:
    """They say so."""
    source = AwsSource(AwsSourceSettings(), FakeContext())
    assert source.sign_in is None
    with pytest.raises(PermanentFetchError, match="neither `sso` nor a profile"):
        await source.begin_login(None)
    await source.close()


async def _as_it_is(session: Session) -> Session:
    """Ask no STS."""
    return session


# --- signing out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("expired", [True, False])
async def test_signing_out_ends_it_at_aws_and_here(place: Place, home: Path, *, shared: bool, expired: bool) -> None:
    """For all who share it; also where the token of the moment is dead: the refresh token lives longer."""
    source = place.source(shared_cache=shared)
    other = place.source(shared_cache=shared)
    place.sso.token_s = -1 if expired else 3600
    await by_device(source)
    place.sso.token_s = 3600
    assert await source.logout()
    assert place.sso.calls["Logout"] == 1
    assert not place.sso.refreshable
    assert not written(home)
    assert not await source.logout()
    for each in (source, other):
        assert isinstance(await failure(fetcher(each)), LoginRequired)


async def test_signing_out_while_aws_is_away_says_what_is_left(place: Place, home: Path) -> None:
    """Here it is forgotten all the same; a sign-in that was dead already is fine."""
    source = place.source()
    place.sso.sign_in(Path.home())
    place.sso.said["Logout"] = ["TooManyRequestsException"] * 2
    with pytest.raises(TransientFetchError, match="signed out here, but the sign-in lives on until its end"):
        await source.logout()
    assert not written(home)
    await by_device(source)
    place.sso.end()
    assert await source.logout()


# --- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"start_url": "http://corp.example/start"}, "start_url must be https"),
        ({"start_url": "corp"}, "start_url must be a URL"),
        ({"region": "europe"}, "region must be such as"),
        ({"account_id": "1"}, "12 digits"),
        ({"role_name": "a b"}, "role_name must be"),
        ({"session": "a]b"}, "session must be"),
        ({"session": "a", "shared_cache": False}, "session belongs to"),
    ],
)
def test_settings_that_cannot_work_are_told_when_the_config_is_read(wrong: dict[str, Any], says: str) -> None:
    """Not at the first sign-in."""
    good: dict[str, Any] = {"start_url": START_URL + "#/", "region": REGION, "account_id": ACCOUNT, "role_name": ROLE}
    SsoSettings(**good)
    with pytest.raises(ValueError, match=says):
        SsoSettings(**good | wrong)
