"""Where a setting that is a secret lives, and how it is read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker import os_keyring
from broker.config import Config, parse
from broker.errors import ConfigError, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sources import TYPES, references
from broker.sources.interface import NoSettings, SourceType, Variants
from broker.sources.references import Reference
from tests.contracts.source_contract import OTHER, VALUE
from tests.fakes.context import FakeContext
from tests.fakes.keyring import FakeKeyring

PATH = Path("/fake/config.toml")


@dataclass(frozen=True, slots=True)
class _Server:
    login: Reference
    spare: Reference | None = None


class _Way(Variants):
    __slots__ = ()
    tag = "method"

    @classmethod
    def variants(cls) -> dict[str, type]:
        return {"password": _Password, "ticket": _Ticket}


@dataclass(frozen=True, slots=True)
class _Password(_Way):
    password: Reference
    user: str = "me"


@dataclass(frozen=True, slots=True)
class _Ticket(_Way):
    number: int


@dataclass(frozen=True, slots=True)
class _Choosy:
    way: _Way


@dataclass(frozen=True, slots=True)
class _Derived:
    base: Reference | None = None


def _never(_settings: object, _context: object) -> None:
    raise AssertionError("reading a config must not open a source")


KNOWN = {
    **TYPES,
    "server": SourceType("server", _Server, _Derived, _never),  # type: ignore[arg-type]  # never opened
    "choosy": SourceType("choosy", _Choosy, NoSettings, _never),  # type: ignore[arg-type]  # never opened
    "derived": SourceType("derived", NoSettings, _Derived, _never),  # type: ignore[arg-type]  # never opened
}


def read(text: str) -> Config:
    """Read a config's text."""
    return parse(text, PATH, KNOWN, {})


def problems(text: str) -> list[str]:
    """Give what is wrong with a config, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [line.removeprefix(f"{PATH}: ") for line in caught.value.problems]


def server(login: str) -> str:
    """Write a config whose source signs in with this."""
    return f"[sources.corp]\ntype = 'server'\nlogin = {login}\n[credentials.work]\nsource = 'corp'\n"


@pytest.mark.parametrize("login", ['"fake-password-1"', "'''fake-password-1'''", '"{ env = \\"X\\" }"'])
def test_a_secret_as_text_is_refused_with_how_to_store_it(login: str) -> None:
    """It is named by its place, and is not in the error."""
    (problem,) = problems(server(login))
    assert problem.startswith(
        "sources.corp.login: a secret is never text in the config; store it by: broker secret set"
    )
    assert "fake-password" not in problem


@pytest.mark.parametrize(
    ("login", "expected"),
    [
        ("{ kering = 'a/b' }", "sources.corp.login.kering: unknown key; did you mean 'keyring'?"),
        ("{}", "sources.corp.login: expected exactly one of keyring, env, file, local, command, credential"),
        ("{ env = 'A', local = 'b' }", "sources.corp.login: expected exactly one of"),
        ("{ env = 'A', shared = true }", "sources.corp.login: field and shared belong to file"),
        ("{ keyring = 'vault' }", 'sources.corp.login: keyring: expected "SERVICE/USERNAME"'),
        ("{ env = 'fake value' }", "sources.corp.login: env: name must be a variable's name"),
        ("{ file = 'relative' }", "sources.corp.login: file: path must be absolute"),
        ("{ local = 'two words' }", "sources.corp.login: local: name must be"),
        ("{ command = [] }", "sources.corp.login: command: argv must name a program"),
        ("{ command = ['no-such-program'] }", "sources.corp.login: command: argv: item 1: there is no such program"),
        ("{ credential = '../x' }", "sources.corp.login: credential: expected the name of a credential"),
        ("7", "sources.corp.login: expected a table that says where the secret lives"),
        ("{ env = 7 }", "sources.corp.login.env: expected text, found an integer"),
    ],
)
def test_what_is_no_reference_is_told_by_its_place(login: str, expected: str) -> None:
    """With the near miss, and the same words as for a source of that type."""
    (problem,) = problems(server(login))
    assert problem.startswith(expected)


def test_a_missing_reference_says_what_belongs_there() -> None:
    """Not only that something does."""
    (problem,) = problems("[sources.corp]\ntype = 'server'\n[credentials.work]\nsource = 'corp'\n")
    assert problem.startswith("sources.corp.login: missing; expected a table that says where the secret lives")


def test_a_reference_compares_by_what_it_names() -> None:
    """A reload with the same config keeps the source's login."""
    assert read(server("{ env = 'A' }")).sources == read(server("{ env = 'A' }")).sources
    assert read(server("{ env = 'A' }")).sources != read(server("{ env = 'B' }")).sources


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("{ number = 1 }", 'sources.c.way: method is missing; expected one of "password", "ticket"'),
        (
            "{ method = 'tiket' }",
            'sources.c.way: method: expected one of "password", "ticket"; did you mean \'ticket\'?',
        ),
        ("{ method = 1 }", "sources.c.way: method: expected text, found an integer"),
        ("'ticket'", "sources.c.way: expected a table with method = ..., found text"),
        ("{ method = 'ticket', numbr = 1 }", "sources.c.way.numbr: unknown key; did you mean 'number'?"),
        ("{ method = 'password', password = 'fake' }", "sources.c.way.password: a secret is never text"),
    ],
)
def test_one_key_decides_which_others_belong_there(way: str, expected: str) -> None:
    """Each way to sign in has its own keys, and its own near misses."""
    found = problems(f"[sources.c]\ntype = 'choosy'\nway = {way}\n[credentials.work]\nsource = 'c'\n")
    assert any(problem.startswith(expected) for problem in found)


def test_the_key_that_decides_picks_the_settings() -> None:
    """And is itself no setting."""
    text = "[sources.c]\ntype = 'choosy'\nway = { method = 'ticket', number = 7 }\n[credentials.work]\nsource = 'c'\n"
    assert read(text).sources["c"].settings == _Choosy(_Ticket(7))


DERIVED = "[credentials.{}]\nsource = 'derived'\nbase = {{ credential = '{}' }}\n"


def test_a_reference_to_a_credential_must_find_it() -> None:
    """A near miss is named."""
    (problem,) = problems(DERIVED.format("one", "thre") + "[credentials.three]\nsource = 'env'\nname = 'A'\n")
    assert problem == "credentials.one.base: no such credential; did you mean 'three'?; known are one, three"


def test_credentials_that_need_each_other_are_a_circle() -> None:
    """Each reference in it is named with the whole way round; one that only leads into it is right by itself."""
    found = problems(DERIVED.format("a", "b") + DERIVED.format("b", "a") + DERIVED.format("c", "a"))
    assert found == [
        "credentials.a.base: credential a needs b needs a, in a circle; get the secret from elsewhere",
        "credentials.b.base: credential b needs a needs b, in a circle; get the secret from elsewhere",
    ]


def test_a_source_cannot_sign_in_with_its_own_credential() -> None:
    """A circle through the source is one too, and said once however many credentials it has."""
    found = problems(server("{ credential = 'work' }") + "[credentials.more]\nsource = 'corp'\n")
    assert found == [
        "sources.corp.login: credential work needs work, in a circle; get the secret from elsewhere",
    ]


def test_credentials_may_be_made_from_others_in_a_row() -> None:
    """That is what the reference is for."""
    last = "[credentials.c]\nsource = 'env'\nname = 'A'\n"
    assert list(read("default = 'a'\n" + DERIVED.format("a", "b") + DERIVED.format("b", "c") + last).credentials)


async def _resolved(reference: Reference, context: FakeContext | None = None) -> str:
    return (await references.bind(reference, context or FakeContext()).resolve()).reveal()


async def test_every_kind_is_read_from_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the source type of the same name."""
    path = tmp_path / "secret"
    path.write_text('{"a": {"b": "fake-file"}}')
    path.chmod(0o600)
    monkeypatch.setenv("FAKE_VARIABLE", "fake-env")
    keyring = FakeKeyring()
    keyring.entries["a/b", "me"] = "fake-keyring"
    monkeypatch.setattr(os_keyring, "ask", keyring.ask)
    context = FakeContext()
    context.secrets.records["one"] = Secret("fake-local")
    context.tokens["other"] = Secret("fake-credential")
    assert await _resolved(Reference(file=str(path), field="a.b")) == "fake-file"
    assert await _resolved(Reference(env="FAKE_VARIABLE")) == "fake-env"
    assert await _resolved(Reference(keyring="a/b/me")) == "fake-keyring"
    assert await _resolved(Reference(command=("/bin/echo", "fake-command"))) == "fake-command"
    assert await _resolved(Reference(local="one"), context) == "fake-local"
    assert await _resolved(Reference(credential="other"), context) == "fake-credential"


@pytest.mark.parametrize("password", ["two  words", "fäke pässwörd", "密码", " fake ", "{fake", "x" * 16_384])
async def test_what_is_only_to_sign_in_with_may_be_any_text(
    password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory's password has blanks and umlauts; a command tells one with a brace by its format alone."""
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_text(f"{password}\n")
    monkeypatch.setenv("FAKE_VARIABLE", password)
    keyring = FakeKeyring()
    keyring.entries["a", "me"] = password
    monkeypatch.setattr(os_keyring, "ask", keyring.ask)
    context = FakeContext()
    context.secrets.records["one"] = Secret(password)
    for reference in (
        Reference(file=str(path)),
        Reference(env="FAKE_VARIABLE"),
        Reference(keyring="a/me"),
        Reference(local="one"),
        *([] if password.startswith("{") else [Reference(command=("/bin/echo", password))]),
    ):
        assert await _resolved(reference, context) == password


@pytest.mark.parametrize("no_text", ["fake\ttab", "fake\nlines", "fake\x1b[0m", "x" * 16_385])
async def test_what_is_no_text_is_told_without_it(no_text: str, tmp_path: Path) -> None:
    """A wrong file, mostly."""
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_text(no_text)
    with pytest.raises(PermanentFetchError, match=r"the secret (has line ends|is longer)") as caught:
        await _resolved(Reference(file=str(path)))
    assert no_text not in str(caught.value)


async def test_a_file_that_others_can_read_is_refused_as_a_source_would(tmp_path: Path) -> None:
    """The same checks, the same words, and the same way to allow it."""
    path = tmp_path / "secret"
    path.write_text(VALUE)
    path.chmod(0o644)
    with pytest.raises(PermanentFetchError, match="others can read it; run: chmod go="):
        await _resolved(Reference(file=str(path)))
    assert await _resolved(Reference(file=str(path), shared=True)) == VALUE


async def test_a_command_that_gives_a_whole_session_is_no_secret() -> None:
    """Where one text belongs, several are a mistake."""
    session = '{"Version": 1, "AccessKeyId": "FAKEID", "SecretAccessKey": "fake-key"}'
    with pytest.raises(PermanentFetchError, match="single secret"):
        await _resolved(Reference(command=("/bin/echo", session)))


async def test_a_secret_that_changes_is_noticed(tmp_path: Path) -> None:
    """A file that is written, a record that is set anew; not before it was used, and not for nothing."""
    path, context = tmp_path / "secret", FakeContext()
    path.touch(0o600)
    for reference in (Reference(file=str(path)), Reference(local="one")):
        path.write_text(VALUE)
        context.secrets.records["one"] = Secret(VALUE)
        used = references.bind(reference, context)
        assert not used.changed()
        await used.resolve()
        assert not used.changed()
        path.write_text(OTHER + "x")
        context.secrets.records["one"] = Secret(OTHER)
        assert used.changed()
        await used.resolve()
        assert not used.changed()


async def test_a_record_that_comes_is_noticed_and_a_locked_store_is_no_change() -> None:
    """So that `broker secret set` is all that a person has to do."""
    context = FakeContext()
    used = references.bind(Reference(local="one"), context)
    with pytest.raises(PermanentFetchError, match="run: broker secret set one"):
        await used.resolve()
    context.secrets.records["one"] = Secret(VALUE)
    assert used.changed()
    context.secrets.locked = True
    assert not used.changed()


async def test_a_place_that_never_answers_has_a_last_resort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A dead file server costs a sign-in, not the daemon."""
    os.mkfifo(tmp_path / "gate", 0o600)
    used = references.bind(Reference(file=str(tmp_path / "secret")), FakeContext())
    fetcher = used.fetcher  # type: ignore[attr-defined]  # to shorten its patience
    object.__setattr__(fetcher, "timeout_s", 0.01)
    monkeypatch.setattr(type(fetcher), "_content", lambda _fetcher: (tmp_path / "gate").read_bytes())
    try:
        with pytest.raises(TransientFetchError, match="could not be read within"):
            await used.resolve()
    finally:
        os.close(os.open(tmp_path / "gate", os.O_RDWR))


async def test_another_credentials_token_is_asked_for_each_time() -> None:
    """It is replaced by itself, and that is no reason to sign in again."""
    context = FakeContext(tokens={"other": Secret(VALUE)})
    used = references.bind(Reference(credential="other"), context)
    assert (await used.resolve()).reveal() == VALUE
    context.tokens["other"] = Secret(OTHER)
    assert not used.changed()
    assert (await used.resolve()).reveal() == OTHER
