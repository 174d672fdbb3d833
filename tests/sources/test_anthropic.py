"""The `anthropic` source, over a fake token endpoint that takes no assertion twice."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker.durations import Duration
from broker.errors import FetchError, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sources import TYPES
from broker.sources.anthropic.renewal import renewed_by
from broker.sources.anthropic.settings import AnthropicSettings, AnthropicSourceSettings
from broker.sources.anthropic.source import AnthropicFetcher, AnthropicSource
from broker.sources.references import Reference
from tests.contracts.source_contract import (
    AnySource,
    Harness,
    SourceThatFails,
    SourceThatWaits,
    failure,
    jwt,
    token_of,
)
from tests.fakes.anthropic import ORGANIZATION, RULE, FakeAnthropic, fake_anthropic
from tests.fakes.context import FakeContext
from tests.fakes.json_server import Answer

OTHERS = Reference(credential="vault-jwt")


@dataclass
class Mint(FakeContext):
    """A context whose other credential has a new token each time that a fresh one is wanted."""

    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def token(self, credential: str, *, fresh: bool = False) -> Secret:
        """Give one that was not given before."""
        assert (credential, fresh) == ("vault-jwt", True)
        return Secret(f"fake-assertion-{next(self.numbers)}")


class Place:
    """A source at the fake endpoint, and its fetchers."""

    def __init__(self, server: FakeAnthropic, **settings: Any) -> None:  # noqa: ANN401  # any setting
        self.server = server
        self.context = Mint()
        known = {"organization_id": ORGANIZATION, "federation_rule_id": RULE, "base_url": server.url}
        self.source = AnthropicSource(AnthropicSourceSettings(**(known | settings)), self.context)

    def fetcher(self, assertion: Reference = OTHERS) -> AnthropicFetcher:
        """Bind where assertions come from."""
        made = self.source.fetcher(AnthropicSettings(assertion), "work")
        assert isinstance(made, AnthropicFetcher)
        return made


@pytest.fixture
def server() -> Iterator[FakeAnthropic]:
    """Give an endpoint."""
    with fake_anthropic() as server:
        yield server


@pytest.fixture
async def place(server: FakeAnthropic) -> AsyncIterator[Place]:
    """Give a source at it."""
    place = Place(server)
    yield place
    server.gate.set()
    await place.source.close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Write an assertion as Kubernetes would."""
    path = tmp_path / "token"
    write(path, "fake-assertion-in-file\n")
    return path


def write(path: Path, text: str) -> None:
    """Let it be that one's."""
    path.write_text(text)
    path.chmod(0o600)


class _AnthropicHarness(Harness):
    """Makes the endpoint hang or fail."""

    def __init__(self, place: Place) -> None:
        self._server = place.server
        self._fetcher = place.fetcher()

    def fetcher(self) -> AnthropicFetcher:
        return self._fetcher

    def hang(self) -> None:
        self._server.gate.clear()

    def release(self) -> None:
        self._server.gate.set()

    def fail(self, saying: str) -> None:
        self._server.scripted = [Answer(400, {"error": "invalid_grant", "error_description": saying})]


class TestAnthropic(AnySource, SourceThatWaits, SourceThatFails):
    """It keeps what every source promises."""

    @pytest.fixture
    def harness(self, place: Place) -> Harness:
        return _AnthropicHarness(place)


# --- the exchange -----------------------------------------------------------------------------------------------


async def test_an_assertion_becomes_a_token(server: FakeAnthropic) -> None:
    """By the call that Anthropic's own SDKs make."""
    place = Place(server, service_account_id="svac_fake", workspace_id="wrkspc_fake")
    issued = await place.fetcher().fetch()
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/oauth/token")
    assert asked.headers["anthropic-beta"] == "oauth-2025-04-20,oidc-federation-2026-04-01"
    assert "authorization" not in asked.headers
    assert asked.body == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": "fake-assertion-1",
        "federation_rule_id": RULE,
        "organization_id": ORGANIZATION,
        "service_account_id": "svac_fake",
        "workspace_id": "wrkspc_fake",
    }
    assert token_of(issued) == "sk-ant-oat01-fake-1"
    assert issued.expires_at == pytest.approx(time.time() + 3600, abs=5)


async def test_what_the_config_leaves_out_is_not_sent(place: Place) -> None:
    """An empty workspace is none of the organization's."""
    await place.fetcher().fetch()
    assert place.server.asked[0].body.keys() == {
        "grant_type",
        "assertion",
        "federation_rule_id",
        "organization_id",
    }


async def test_its_details_are_those_that_other_programs_need_and_no_secret(place: Place, token_file: Path) -> None:
    """`broker export` writes them for Claude Code's own exchange."""
    issued = await place.fetcher(Reference(file=str(token_file))).fetch()
    assert issued.details == {
        "organization_id": ORGANIZATION,
        "federation_rule_id": RULE,
        "base_url": place.server.url,
        "identity_token_file": str(token_file),
    }


# --- an assertion is used once ----------------------------------------------------------------------------------


async def test_every_try_has_an_assertion_of_its_own(place: Place) -> None:
    """Also the one after a failure: whether the first was taken, nobody can tell."""
    fetcher = place.fetcher()
    place.server.scripted = [Answer(503)]
    await failure(fetcher)
    await fetcher.fetch()
    await fetcher.fetch()
    assert [asked.body["assertion"] for asked in place.server.asked] == [f"fake-assertion-{n}" for n in (1, 2, 3)]


async def test_a_token_file_that_did_not_change_is_not_sent_again(place: Place, token_file: Path) -> None:
    """The endpoint would refuse it; the one who writes the file is the one to wait for, and is noticed."""
    fetcher = place.fetcher(Reference(file=str(token_file)))
    await fetcher.fetch()
    assert not fetcher.changed()
    error = await failure(fetcher)
    assert isinstance(error, TransientFetchError)
    assert f"{token_file}: the token file has not changed since it was used" in str(error)
    assert len(place.server.asked) == 1
    write(token_file, "fake-assertion-renewed")
    assert fetcher.changed()
    assert token_of(await fetcher.fetch()) == "sk-ant-oat01-fake-2"
    assert not fetcher.changed()


async def test_two_credentials_do_not_send_one_assertion_twice(place: Place, token_file: Path) -> None:
    """They share the source, and so what it remembers."""
    one, two = (place.fetcher(Reference(file=str(token_file))) for _ in range(2))
    await one.fetch()
    await failure(two)
    assert len(place.server.asked) == 1


async def test_any_other_place_that_repeats_itself_is_told_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable never changes by itself."""
    monkeypatch.setenv("FAKE_ASSERTION", "fake-assertion-in-variable")
    fetcher = place.fetcher(Reference(env="FAKE_ASSERTION"))
    await fetcher.fetch()
    assert "the assertion is the same that was used already" in str(await failure(fetcher))


async def test_an_assertion_that_never_left_is_not_used(server: FakeAnthropic, token_file: Path) -> None:
    """No network at the moment is no reason to wait for the next token file, which may take an hour."""
    place = Place(server, base_url="http://127.0.0.1:1")
    fetcher = place.fetcher(Reference(file=str(token_file)))
    assert "connection refused" in str(await failure(fetcher))
    assert "connection refused" in str(await failure(fetcher))


async def test_an_assertion_without_an_answer_counts_as_used(server: FakeAnthropic, token_file: Path) -> None:
    """It may have arrived."""
    place = Place(server, timeout=Duration(0.05))
    fetcher = place.fetcher(Reference(file=str(token_file)))
    server.gate.clear()
    assert "no answer within 0.05 s" in str(await failure(fetcher))
    server.gate.set()
    assert "has not changed since it was used" in str(await failure(fetcher))


async def test_only_so_many_assertions_are_remembered(place: Place) -> None:
    """A daemon that runs for years does not fill its memory with them."""
    used = place.source.used
    for number in range(300):
        used.add(Secret(str(number)))
    assert used.has(Secret("299"))
    assert not used.has(Secret("0"))


# --- what goes wrong --------------------------------------------------------------------------------------------


def _api_error(status: int, kind: str, message: str) -> Answer:
    return Answer(status, {"type": "error", "error": {"type": kind, "message": message}})


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (
            Answer(400, {"error": "invalid_grant", "error_description": "assertion has expired"}),
            PermanentFetchError,
            "the assertion is not taken (invalid_grant: assertion has expired): expired, used before, or not what",
        ),
        (
            _api_error(401, "authentication_error", "no match"),
            PermanentFetchError,
            "does not take this assertion (authentication_error: no match); compare its issuer, subject and audience, or",
        ),
        (_api_error(403, "permission_error", "no"), PermanentFetchError, "not allowed (permission_error: no); check"),
        (Answer(404, "nothing"), PermanentFetchError, "no token endpoint answers there (status 404)"),
        (
            Answer(307, headers={"Location": "https://x.example"}),
            PermanentFetchError,
            "no token endpoint answers there",
        ),
        (Answer(429, {}), TransientFetchError, "asked too often"),
        (_api_error(529, "overloaded_error", "busy"), TransientFetchError, "(status 529) (overloaded_error: busy)"),
        (Answer(500, "<html>"), TransientFetchError, "the server fails (status 500)"),
        (Answer(200, []), TransientFetchError, "the answer holds no token"),
        (
            Answer(200, {"access_token": "a b", "expires_in": 5}),
            TransientFetchError,
            "the token in the answer has blanks",
        ),
        (Answer(200, {"access_token": "x"}), TransientFetchError, "does not say how long"),
        (Answer(200, {"access_token": "x", "expires_in": True}), TransientFetchError, "does not say how long"),
        (Answer(200, '{"access_token": "x", "expires_in": 1e999}'), TransientFetchError, "does not say how long"),
        (Answer(200, {"access_token": "x", "expires_in": 1e300}), TransientFetchError, "does not say how long"),
        (Answer(200, {"access_token": "x", "expires_in": 10**400}), TransientFetchError, "does not say how long"),
    ],
)
async def test_what_the_endpoint_says_is_told_with_what_mends_it(
    place: Place, answer: Answer, error: type[FetchError], words: str
) -> None:
    """A person reads what to compare; what may go away by itself is tried again."""
    place.server.scripted = [answer]
    found = await failure(place.fetcher())
    assert words in str(found)
    assert type(found) is error
    assert "fake-assertion" not in str(found)


@pytest.mark.parametrize(
    ("reference", "who"),
    [
        ({"file": "/run/token"}, "whatever writes /run/token renews it"),
        ({"credential": "jwt"}, "the next one comes from credential jwt; run: broker refresh jwt"),
        ({"env": "TOKEN"}, "nothing renews TOKEN in the daemon's environment; set it anew, then: broker restart"),
        ({"local": "jwt"}, "nothing renews what is stored; run: broker secret set jwt"),
        ({"keyring": "a b/me"}, "nothing renews the keyring's entry; run: keyring set 'a b' me"),
        ({"command": ("/bin/sh",)}, "its command is to print a new one at each run"),
    ],
)
def test_who_renews_an_assertion_is_named(reference: dict[str, Any], who: str) -> None:
    """By the place that the config names, with what a person can do."""
    assert renewed_by(Reference(**reference)).startswith(who)


async def test_an_assertion_that_went_stale_says_so_and_who_renews_it(place: Place, token_file: Path) -> None:
    """One that is known to be dead is not sent; of another the endpoint does not say which of three reasons it was."""
    write(token_file, jwt(time.time() - 90))
    found = str(await failure(place.fetcher(Reference(file=str(token_file)))))
    assert re.search(r"the token expired already, 9[0-9] s ago; whatever writes /.* renews it", found)
    assert not place.server.asked
    place.context.secrets.records["jwt"] = Secret(jwt(time.time() - 90))
    found = str(await failure(place.fetcher(Reference(local="jwt"))))
    assert re.search(r"the token expired already, 9[0-9] s ago; run: broker secret set jwt$", found)
    place.server.scripted = [Answer(400, {"error": "invalid_grant"})]
    found = str(await failure(place.fetcher()))
    assert "or not what the rule expects; the next one comes from credential vault-jwt; run: broker refresh" in found


async def test_the_assertion_is_in_no_error(place: Place) -> None:
    """Also where the endpoint says it back."""
    place.server.scripted = [_api_error(401, "authentication_error", "fake-assertion-1 is not known")]
    assert "fake-assertion" not in str(await failure(place.fetcher()))


async def test_with_a_workspace_set_none_is_asked_for(server: FakeAnthropic) -> None:
    """The hint is for who has none."""
    server.scripted = [Answer(401, {})]
    assert "workspace_id" not in str(await failure(Place(server, workspace_id="default").fetcher()))


# --- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"organization_id": ""}, "organization_id must be the ID"),
        ({"federation_rule_id": "fdrl fake"}, "federation_rule_id must be the ID"),
        ({"workspace_id": ""}, "workspace_id must be the ID"),
        ({"base_url": "http://api.example"}, "base_url must be https"),
        ({"base_url": "https://api.example/%2e"}, "base_url: expected"),
        ({"ca_cert": "ca.pem"}, "ca_cert must be an absolute path"),
    ],
)
def test_a_source_that_cannot_work_is_told_when_the_config_is_read(settings: dict[str, Any], words: str) -> None:
    """Not at the first prompt."""
    with pytest.raises(ValueError, match=words):
        AnthropicSourceSettings(**({"organization_id": ORGANIZATION, "federation_rule_id": RULE} | settings))


def test_the_endpoint_is_anthropics_own_unless_said_otherwise() -> None:
    """And a base URL with or without `/v1` means the same."""
    assert AnthropicSourceSettings(ORGANIZATION, RULE).base_url == "https://api.anthropic.com"
    made = AnthropicSourceSettings(ORGANIZATION, RULE, base_url="https://api.example/v1/")
    assert made.base_url == "https://api.example"


async def test_it_is_opened_as_the_config_says(server: FakeAnthropic) -> None:
    """By the type's own entry, library and all."""
    source = TYPES["anthropic"].open(AnthropicSourceSettings(ORGANIZATION, RULE, base_url=server.url), Mint())
    assert token_of(await source.fetcher(AnthropicSettings(OTHERS), "work").fetch()) == "sk-ant-oat01-fake-1"
    await source.close()


def test_the_type_is_registered_and_loads_no_library() -> None:
    """A daemon that serves something else pays nothing for it."""
    assert "anthropic" in TYPES
    code = "import sys, broker.sources.anthropic; sys.exit('requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
