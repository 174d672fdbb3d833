"""A refresh whose answer outlives the daemon: killed at any moment, no sign-in is lost and no token used twice."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from broker.errors import LoginRequired, TransientFetchError
from broker.secret import Secret
from broker.sources.oauth import flight, seal
from broker.sources.oauth.flight import Flight
from broker.sources.references import Reference
from broker.sources.web.server import Server
from tests.contracts.source_contract import failure
from tests.fakes.oauth import FakeProvider
from tests.sources.oauth.sign_in.conftest import Sources
from tests.sources.oauth.sign_in.place import Courier, Killed, files

# --- the end at any moment --------------------------------------------------------------------------------------


async def test_an_answer_that_nobody_stored_is_taken_in_by_the_next_daemon(
    sources: Sources, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the provider's answer and our store: the new refresh token is in the sealed file."""
    place = sources()
    await place.sign_in()
    stored = place.context.login.put

    async def dies(value: Secret) -> bool:
        if json.loads(value.reveal())["flight"] is None:
            raise Killed
        return await stored(value)

    monkeypatch.setattr(place.context.login, "put", dies)
    with pytest.raises(Killed):
        await place.source.session.refresh_token.spend(await place.source.session.refresh_token.current(), {})  # type: ignore[union-attr]  # a flow of a person's
    monkeypatch.undo()
    monkeypatch.setenv("BROKER_STATE_DIR", str(state))
    monkeypatch.setattr(flight, "_courier", Courier)
    (sealed,) = files(state)
    assert b"fake-" not in sealed
    assert place.kept["refresh_token"] in place.idp.used
    place.restart()
    await place.fetcher(scope="a").fetch()
    assert place.idp.reuses == 0
    assert not files(state)


async def test_a_refresh_that_never_left_is_made_again(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before anything was sent: the refresh token is as good as before."""
    place = sources()
    await place.sign_in()
    monkeypatch.setattr(Courier, "dies_before", True)
    assert "ended without a word" in str(await failure(place.fetcher(scope="a")))
    monkeypatch.setattr(Courier, "dies_before", False)
    place.restart()
    await place.fetcher(scope="a").fetch()
    assert place.idp.reuses == 0


async def test_an_answer_that_died_with_who_asked_is_told(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut: the old token is shown once more, as some providers take it; where not, a person signs in."""
    place = sources()
    await place.sign_in()
    monkeypatch.setattr(Courier, "dies_after", True)
    await failure(place.fetcher(scope="a"))
    monkeypatch.setattr(Courier, "dies_after", False)
    place.restart()
    error = await failure(place.fetcher(scope="a"))
    assert isinstance(error, LoginRequired)
    assert "the answer to the last refresh got lost" in str(error)
    assert place.idp.reuses == 1
    await failure(place.fetcher(scope="a"))
    assert place.idp.reuses == 1, "and never again"


async def test_where_the_next_token_could_not_be_stored_the_present_one_is_not_spent(sources: Sources) -> None:
    """A full disk costs a wait, not the sign-in."""
    place = sources()
    await place.sign_in()
    place.context.login.stores = False
    error = await failure(place.fetcher(scope="a"))
    assert isinstance(error, TransientFetchError)
    assert "is not spent" in str(error)
    assert place.idp.calls["/token"] == 1
    place.context.login.stores = True
    assert await place.fetcher(scope="a").fetch()


async def test_a_disk_that_fills_up_in_the_middle_loses_nothing(
    sources: Sources, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token is served; the file stays for the next daemon."""
    place = sources()
    await place.sign_in()
    stored = place.context.login.put

    async def full(value: Secret) -> bool:
        return json.loads(value.reveal())["flight"] is not None and await stored(value)

    place.context.login.put = full  # type: ignore[method-assign]  # the disk
    fetcher = place.fetcher(scope="a")
    await fetcher.fetch()
    assert files(state)
    place.context.login.put = stored  # type: ignore[method-assign]  # the disk
    place.restart()
    await place.fetcher(scope="a").fetch()
    assert place.idp.reuses == 0


async def test_where_nothing_is_stored_the_sign_in_lasts_as_long_as_the_daemon(sources: Sources, state: Path) -> None:
    """`persist = "off"`: no file either."""
    place = sources()
    place.context.login.stores = False
    assert not await place.sign_in()
    fetcher = place.fetcher(scope="a")
    for _ in range(3):
        await fetcher.fetch()
    assert place.idp.reuses == 0
    assert not files(state)


@pytest.mark.slow
def test_the_courier_is_a_program_of_its_own(idp: FakeProvider, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works without the daemon, and says nothing but the sealed answer."""
    monkeypatch.undo()
    monkeypatch.setenv("BROKER_STATE_DIR", str(state))
    made = Flight("corp", Secret(seal.new_key()))
    request = {"url": f"{idp.address}/token", "headers": {"Accept": "application/json"}, "body": "grant_type=x"}
    outcome = made.carry(Server(f"{idp.address}/token"), request)
    assert (outcome["status"], json.loads(outcome["body"])["token_type"]) == (200, "Bearer")
    (content,) = files(state)
    assert b"fake-" not in content
    assert made.landed(0).outcome == outcome
    made.remove()
    assert not files(state)


# --- the file ---------------------------------------------------------------------------------------------------


def sealed_file(state: Path, content: bytes, name: str = "corp") -> tuple[Flight, Path]:
    """Leave a file behind, as some courier did."""
    made = Flight(name, Secret(seal.new_key()))
    state.mkdir(mode=0o700, exist_ok=True)
    path = made._path
    path.write_bytes(content.replace(b"MARK", made.mark.encode()))
    return made, path


@pytest.mark.parametrize(("content", "sent"), [(b"", False), (b"MARK", True), (b"MARK\n", True), (b"other\nx", False)])
def test_a_file_without_an_answer_says_how_far_it_got(state: Path, content: bytes, sent: bool) -> None:  # noqa: FBT001  # a table
    """Another flight's file says nothing of this one."""
    made, _ = sealed_file(state, content)
    assert made.landed(0) == flight.Landed(None, sent)


@pytest.mark.parametrize("torn", [b"", b"\0\0", b"..", b"e30.AA.AA.AA.AA", b"\xff\xfe", b"x" * 100])
def test_a_torn_answer_is_none(state: Path, torn: bytes) -> None:
    """So is one that somebody else put there."""
    made, _ = sealed_file(state, b"MARK\n" + torn)
    assert made.landed(0) == flight.Landed(None, sent=True)


def test_an_answer_under_another_key_is_none(state: Path) -> None:
    """Only who can read the store can make one."""
    made, path = sealed_file(state, b"MARK\n")
    with path.open("ab") as file:
        file.write(seal.sealed({"status": 200, "body": "{}"}, seal.new_key()))
    assert made.landed(0).outcome is None


def test_a_courier_at_work_is_waited_for(state: Path) -> None:
    """And not doubled."""
    made, path = sealed_file(state, b"")
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TransientFetchError, match="still under way"):
            made.landed(0)
        with pytest.raises(TransientFetchError, match="cannot be written"):
            made.carry(Server("https://login.example/"), {})


def test_no_link_is_followed(state: Path, tmp_path: Path) -> None:
    """Who can write into the folder could have us overwrite any file."""
    made, path = sealed_file(state, b"")
    path.unlink()
    (tmp_path / "precious").write_text("precious")
    path.symlink_to(tmp_path / "precious")
    assert made.landed(0).outcome is None
    with pytest.raises(TransientFetchError, match="cannot be written"):
        made.carry(Server("https://login.example/"), {})
    assert (tmp_path / "precious").read_text() == "precious"


async def test_a_provider_that_is_away_is_told_as_ever(sources: Sources) -> None:
    """The courier meets the trouble, and the line is the same."""
    place = sources()
    await place.sign_in()
    place.idp.metadata["token_endpoint"] = "http://127.0.0.1:1/token"
    place.restart()
    error = await failure(place.fetcher(scope="a"))
    assert isinstance(error, TransientFetchError)
    assert "nothing listens there" in str(error)


async def test_a_client_secret_shows_who_refreshes(sources: Sources) -> None:
    """Through the courier too; a new one is noticed."""
    place = sources(client_secret=Reference(local="client-secret"))
    place.context.secrets.records["client-secret"] = Secret("fake-client-secret")
    await place.sign_in()
    fetcher = place.fetcher(scope="a")
    await fetcher.fetch()
    assert place.idp.basic == ("me", "fake-client-secret")
    assert not fetcher.changed()
    place.context.secrets.records["client-secret"] = Secret("fake-client-secret-2")
    assert fetcher.changed()
