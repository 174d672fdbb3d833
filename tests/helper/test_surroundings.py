"""What the helper tells of its surroundings, for the daemon to judge where the token would go: folder and variables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helper.harness import TOKEN, WAIT_S, Place, Said, ok, serving
from tests.real.installed import a_place, running

FOLDER: Final = b"X-Broker-Cwd"
VARIABLES: Final = b"X-Broker-Env"
ROOM: Final = 16 * 1024

Variables = Mapping[bytes, bytes | None]
"""By name; None: set, value unknown."""


def run(place: Place, variables: Mapping[bytes, bytes], cwd: Path | None = None) -> Said:
    """Run the helper with more variables, whatever their bytes."""
    env = {os.fsencode(name): os.fsencode(value) for name, value in place.env({}).items()} | dict(variables)
    done = subprocess.run([place.helper], env=env, cwd=cwd, capture_output=True, timeout=WAIT_S, check=False)
    return Said(done.returncode, done.stdout, done.stderr.decode())


def told(place: Place, variables: Mapping[bytes, bytes], cwd: Path | None = None) -> dict[bytes, bytes]:
    """Return the headers of a good run."""
    with serving(place.socket, ok()) as daemon:
        said = run(place, variables, cwd)
    assert (said.code, said.out) == (0, TOKEN + b"\n"), said.err
    lines = daemon.requests[0].removesuffix(b"\r\n\r\n").split(b"\r\n")[1:]
    return dict(line.split(b": ", 1) for line in lines)


def variables_in(header: bytes) -> Variables:
    """Read the header as the daemon does; a name given twice fails the test."""
    found: dict[bytes, bytes | None] = {}
    for entry in header.split(b"&") if header else []:
        name, equals, value = entry.partition(b"=")
        assert unquote_to_bytes(name) not in found
        found[unquote_to_bytes(name)] = unquote_to_bytes(value) if equals else None
    return found


def test_tells_the_variables_that_steer(place: Place) -> None:
    """Every base URL, provider switch and settings folder that decides where Claude Code would send the token."""
    steering = {
        b"ANTHROPIC_BASE_URL": b"http://127.0.0.1:4000/a?b=c&d",
        b"ANTHROPIC_BEDROCK_BASE_URL": b"",
        b"ANTHROPIC_VERTEX_BASE_URL": b"https://v.example/v1",
        b"ANTHROPIC_FOUNDRY_BASE_URL": b"https://f.example",
        b"ANTHROPIC_NOT_KNOWN_YET_URL": b"https://n.example",
        b"CLAUDE_CODE_USE_BEDROCK": b"1",
        b"CLAUDE_CODE_SKIP_VERTEX_AUTH": b"0",
        b"CLAUDE_CONFIG_DIR": b"/home/me/.claude-other",
        b"CLAUDECODE": b"1",
        b"CLAUDE_CODE_IGNORE_PERSISTED_TRUST": b"1",
    }
    assert variables_in(told(place, steering)[VARIABLES]) == steering


def test_tells_nothing_else_of_the_environment(place: Place) -> None:
    """No secret and nothing private leaves the helper, not even for its own daemon; near misses of names neither."""
    others = {
        b"ANTHROPIC_API_KEY": b"fake-secret-1",
        b"ANTHROPIC_AUTH_TOKEN": b"fake-secret-2",
        b"ANTHROPIC_CUSTOM_HEADERS": b"X-Key: fake-secret-3",
        b"ANTHROPIC_MODEL": b"m",
        b"XANTHROPIC_BASE_URL": b"x",
        b"ANTHROPIC_BASE_URL2": b"x",
        b"anthropic_base_url": b"x",
        b"CLAUDECODE2": b"x",
        b"CLAUDE_CODE_API_KEY_HELPER_TTL_MS": b"60000",
        b"AWS_SECRET_ACCESS_KEY": b"fake-secret-4",
    }
    assert told(place, others)[VARIABLES] == b""


def test_a_steering_name_that_may_hold_a_secret_is_told_without_its_value(place: Place) -> None:
    """The daemon learns that it is set, and takes its value for unknown."""
    secrets = {b"CLAUDE_CODE_USE_SOME_TOKEN": b"fake-secret-1", b"CLAUDE_CODE_SKIP_SOME_KEY": b"fake-secret-2"}
    assert variables_in(told(place, secrets)[VARIABLES]) == dict.fromkeys(secrets)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (b"a&b\r\nX-Broker-Cwd: /", b"a%26b%0D%0AX-Broker-Cwd%3A%20/"),
        (b"\xc3\xa9\xff+%41", b"%C3%A9%FF%2B%2541"),
        (b"A-Z_0.9~/", b"A-Z_0.9~/"),
        (b"=", b"%3D"),
    ],
)
def test_no_value_can_forge_a_variable_or_a_header(place: Place, value: bytes, encoded: bytes) -> None:
    """Whatever bytes a value has, it stays one value."""
    assert told(place, {b"CLAUDECODE": value})[VARIABLES] == b"CLAUDECODE=" + encoded


def test_a_name_is_encoded_too(install: Callable[[str], Place]) -> None:
    """A name of odd bytes stays one name. (The Python helper never sees one: its shell drops it.)"""
    place = install("native")
    odd = {b"ANTHROPIC_&\r\n\xff_URL": b"x"}
    assert told(place, odd)[VARIABLES] == b"ANTHROPIC_%26%0D%0A%FF_URL=x"


@pytest.mark.parametrize(("length", "known"), [(4096, True), (4097, False), (100_000, False)])
def test_a_huge_value_is_told_by_name_only(place: Place, length: int, *, known: bool) -> None:
    """The daemon takes it for set and unknown, rather than for absent."""
    value = b"x" * length
    assert variables_in(told(place, {b"ANTHROPIC_BASE_URL": value})[VARIABLES]) == {
        b"ANTHROPIC_BASE_URL": value if known else None
    }


def test_where_the_room_ends_names_go_on(place: Place) -> None:
    """16 KiB hold the first values and the names of the rest."""
    many = {b"ANTHROPIC_%d_URL" % number: b"\n" * 1000 for number in range(60)}
    header = told(place, many)[VARIABLES]
    found = variables_in(header)
    assert len(header) <= ROOM
    assert found.keys() == many.keys()
    known = [name for name, value in found.items() if value is not None]
    assert known == list(found)[: len(known)]
    assert len(known) == 5


def test_too_many_to_name_are_refused(place: Place) -> None:
    """The one that steers cannot hide behind a thousand others: without all names there is no token."""
    many = {b"ANTHROPIC_%d_URL" % number: b"x" for number in range(2000)}
    with serving(place.socket, ok()) as daemon:
        said = run(place, many)
    assert (said.code, said.out) == (77, b"")
    assert (
        said.err == "broker-helper: more than 16384 bytes of ANTHROPIC_*_URL and CLAUDE_CODE_* variables; unset some\n"
    )
    assert daemon.requests in ([], [b""])


def test_a_name_longer_than_the_room_is_refused(place: Place) -> None:
    """The same for one alone."""
    with serving(place.socket, ok()):
        assert run(place, {b"ANTHROPIC_" + b"X" * 100_000 + b"_URL": b"x"}).code == 77


def test_ten_thousand_other_variables_change_nothing(place: Place) -> None:
    """A crowded environment costs time only."""
    crowd = {b"OTHER_%d" % number: b"x" * 20 for number in range(10_000)}
    assert told(place, crowd | {b"CLAUDECODE": b"1"})[VARIABLES] == b"CLAUDECODE=1"


def test_what_is_no_variable_is_passed_over(install: Callable[[str], Place]) -> None:
    """Entries without name or `=` are nothing; a name given twice is told twice. (A shell would tidy all that up.)"""
    place = install("native")
    raw = [b"=ANTHROPIC_BASE_URL=x", b"ANTHROPIC_BASE_URL", b"CLAUDECODE=1", b"CLAUDECODE=2", b"="]
    with serving(place.socket, ok()) as daemon:
        said = exec_with(place, raw)
    assert (said.code, said.out) == (0, TOKEN + b"\n"), said.err
    assert b"\r\nX-Broker-Env: CLAUDECODE=1&CLAUDECODE=2\r\n" in daemon.requests[0]


def exec_with(place: Place, raw: list[bytes]) -> Said:
    """Run the helper with an environment that no shell and no Python would make."""
    script = """
import ctypes, sys
def vector(items): return (ctypes.c_char_p * (len(items) + 1))(*items, None)
path, *entries = [bytes.fromhex(item) for item in sys.argv[1:]]
ctypes.CDLL(None).execve(path, vector([path]), vector(entries))
"""
    base = [f"{name}={value}".encode() for name, value in place.env({}).items()]
    arguments = [item.hex() for item in [os.fsencode(place.helper), *base, *raw]]
    return place.run_as([sys.executable, "-c", script, *arguments])


@pytest.mark.parametrize("name", [b"plain", b"a b", b"new\r\nline", b"\xff\xfe", b"\xc3\xa9", b"%41&=+"])
def test_tells_its_folder(place: Place, name: bytes) -> None:
    """As the system names it, whatever bytes that is, links resolved."""
    folder = Path(os.fsdecode(os.fsencode(place.folder) + b"/" + name))
    folder.mkdir()
    link = place.folder / "link"
    link.symlink_to(folder)
    header = told(place, {}, cwd=link)[FOLDER]
    assert unquote_to_bytes(header) == os.fsencode(folder.resolve())
    assert not set(header) & set(b" \r\n&=+\xff")


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, and come back."""
    before = os.open(".", os.O_RDONLY)
    os.chdir(folder)
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def test_a_folder_that_is_gone_is_left_out(place: Place) -> None:
    """The daemon then judges by what the kernel shows, and the token is not lost for the helper's sake."""
    gone = place.folder / "gone"
    gone.mkdir()
    with inside(gone):
        gone.rmdir()
        assert FOLDER not in told(place, {})


def test_an_unreadable_folder_is_told_nevertheless(place: Place) -> None:
    """Its name is known without a look inside."""
    closed = place.folder / "closed"
    closed.mkdir()
    with inside(closed):
        closed.chmod(0)
        assert unquote_to_bytes(told(place, {})[FOLDER]) == os.fsencode(closed.resolve())


@pytest.mark.parametrize(("depth", "is_told"), [(19, True), (25, False)])
def test_a_folder_deeper_than_4096_bytes_is_left_out(place: Place, depth: int, *, is_told: bool) -> None:
    """Never cut, which would name another folder."""
    with inside(place.folder):
        for _ in range(depth):
            Path("d" * 200).mkdir()
            os.chdir("d" * 200)
        headers = told(place, {})
    assert (FOLDER in headers) == is_told
    if is_told:
        assert len(headers[FOLDER]) > depth * 200


NAMES: Final = st.tuples(
    st.sampled_from([b"ANTHROPIC_", b"CLAUDE_CODE_USE_", b"CLAUDE_CODE_SKIP_", b"CLAUDE", b"X"]),
    st.sampled_from([b"", b"A", b"B_C", b"URL", b"_0"]),
    st.sampled_from([b"", b"_URL", b"_KEY", b"_TOKEN", b"CODE"]),
).map(b"".join)
VALUES: Final = st.builds(bytes.__mul__, st.binary(max_size=6), st.sampled_from([1, 1, 1, 100, 700, 2000])).map(
    lambda value: value.replace(b"\0", b"\n")
)


def steers(name: str) -> bool:
    """Say by the contract whether the daemon gets to see this variable."""
    family = name.startswith(("CLAUDE_CODE_USE_", "CLAUDE_CODE_SKIP_"))
    return family or name == "CLAUDECODE" or (name.startswith("ANTHROPIC_") and name.endswith("_URL"))


def check_told(header: bytes, variables: Mapping[bytes, bytes]) -> None:
    """Compare what was told with the contract, in the order in which it was told."""
    found = variables_in(header)
    assert found.keys() == {name for name in variables if steers(name.decode())}
    room = ROOM
    for entry, (name, value) in zip(header.split(b"&"), found.items(), strict=bool(found)):
        if value is not None:
            assert value == variables[name]
        elif not name.endswith((b"_KEY", b"_TOKEN")) and len(variables[name]) <= 4096:
            assert len(name) + 1 + len(quote_from_bytes(variables[name], safe="/~")) > room
        room -= len(entry) + 1
    assert room >= -1


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "examples"), [("native", 150), ("sanitized", 100), ("python", 50)])
def test_any_environment_is_told_by_the_rules(install: Callable[[str], Place], kind: str, examples: int) -> None:
    """Whatever is set: all names that steer, their values as far as there is room, and nothing else."""
    place = install(kind)

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(NAMES, VALUES, max_size=15))
    def run_(variables: dict[bytes, bytes]) -> None:
        check_told(told(place, variables)[VARIABLES], variables)

    run_()


@pytest.mark.slow
def test_the_real_daemon_takes_the_longest_request(place: Place) -> None:
    """A folder and variables that fill all there is still get the token: nobody is locked out by a long path."""
    with a_place() as there, inside(place.folder):
        there.configure('[credentials.work]\nsource = "command"\nargv = ["/bin/echo", "fake-token-1"]\n')
        for _ in range(19):
            Path("\u00e9" * 100).mkdir()
            os.chdir("\u00e9" * 100)
        with running(there):
            full = {b"CLAUDE_CODE_USE_%d" % number: b"\xff" * 1300 for number in range(35)}
            said = run(place, full | {b"BROKER_SOCKET": os.fsencode(there.socket)})
    assert (said.code, said.out) == (0, TOKEN + b"\n"), said.err
