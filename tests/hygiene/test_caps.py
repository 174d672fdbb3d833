"""Every size that comes from outside has a limit: which, where it stands, and what proves that it holds."""

from __future__ import annotations

import importlib
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from broker import secret
from broker.config.file import read_text
from broker.engine.destination import Scope, SettingsFile
from broker.errors import ConfigError, UnsafePath
from broker.sources import answer
from broker.storage import disk, pins
from broker.storage.audit import files as audit_files
from broker.storage.audit.chain import LINE_MAX, Malformed, parse
from broker.storage.header import Unreadable
from tests.hygiene.proofs import exists
from tests.real.installed import Daemon
from tests.real.process import DEADLINE_S

KIB: Final = 1024
MIB: Final = 1024 * KIB
HERE: Final = "tests/hygiene/test_caps.py"


class Cap(NamedTuple):
    """`limit` is in bytes where nothing else is said; `constant` is MODULE:NAME; `proof` is a test."""

    what: str
    limit: int
    constant: str
    proof: str


CAPS: Final = (
    Cap("a request's line", 8190, "", f"{HERE}::test_a_request_beyond_a_limit_is_refused"),
    Cap(
        "a request's header",
        20 * KIB,
        "broker.endpoints.server:HEADER_MAX",
        f"{HERE}::test_a_request_beyond_a_limit_is_refused",
    ),
    Cap("headers of a request (number)", 128, "", f"{HERE}::test_a_request_beyond_a_limit_is_refused"),
    Cap(
        "a request's body",
        64 * KIB,
        "broker.endpoints.control.middleware:BODY_MAX",
        f"{HERE}::test_a_request_beyond_a_limit_is_refused",
    ),
    Cap(
        "a passphrase (characters)",
        KIB,
        "broker.endpoints.control.safe:_PASSPHRASE_MAX",
        f"{HERE}::test_a_request_beyond_a_limit_is_refused",
    ),
    Cap(
        "a request's body at a face on TCP",
        KIB,
        "broker.endpoints.loopback:BODY_MAX",
        "tests/endpoints/test_loopback.py::test_a_request_beyond_a_limit_is_refused",
    ),
    Cap(
        "connections to a face on TCP (number)",
        256,
        "broker.endpoints.faces:CONNECTIONS_MAX",
        "tests/endpoints/test_loopback.py::test_a_crowd_of_idle_connections_keeps_nobody_out",
    ),
    Cap(
        "the note of the faces' ports",
        4 * KIB,
        "broker.endpoints.ports:SIZE_MAX",
        "tests/endpoints/test_faces.py::test_a_broken_note_of_ports_costs_a_new_port",
    ),
    Cap(
        "what a browser brings back from a sign-in",
        16 * KIB,
        "broker.cli.redirect:_TARGET_MAX",
        "tests/cli/test_redirect.py::test_what_is_no_answer_is_not_taken_for_one",
    ),
    Cap(
        "each part of it, at the daemon",
        16 * KIB,
        "broker.endpoints.control.login:_TEXT_MAX",
        "tests/endpoints/test_login.py::test_a_malformed_call_is_a_bad_request_that_quotes_nothing",
    ),
    Cap(
        "the address to sign in at",
        16 * KIB,
        "broker.sources.vault.person:_URL_MAX",
        "tests/sources/vault/test_vault_login.py::test_what_is_no_address_to_sign_in_at_is_not_opened",
    ),
    Cap("what a client sends without end", MIB, "", f"{HERE}::test_an_endless_request_is_cut_off"),
    Cap("the config", MIB, "broker.config.file:MAX_BYTES", f"{HERE}::test_a_larger_config_is_refused"),
    Cap(
        "a settings file of Claude Code's",
        MIB,
        "broker.engine.destination.strict:SIZE_MAX",
        f"{HERE}::test_larger_or_deeper_settings_are_refused",
    ),
    Cap(
        "its nesting (levels)",
        64,
        "broker.engine.destination.strict:DEPTH_MAX",
        f"{HERE}::test_larger_or_deeper_settings_are_refused",
    ),
    Cap("what a person allowed", MIB, "broker.storage.pins:SIZE_MAX", f"{HERE}::test_a_larger_list_of_pins_is_refused"),
    Cap("a token (characters)", 16 * KIB, "broker.secret:MAX_LENGTH", f"{HERE}::test_a_longer_token_is_refused"),
    Cap(
        "what a command prints, and what it complains",
        64 * KIB,
        "broker.sources.process:OUTPUT_MAX",
        "tests/sources/test_command.py::test_an_endless_output_is_cut_off_and_its_command_killed",
    ),
    Cap(
        "a file with a token",
        64 * KIB,
        "broker.sources.file:_TEXT_MAX",
        "tests/sources/test_file.py::test_an_endless_file_is_not_read_to_its_end",
    ),
    Cap(
        "a JSON file with one",
        MIB,
        "broker.sources.file:_JSON_MAX",
        "tests/sources/test_file.py::test_an_endless_file_is_not_read_to_its_end",
    ),
    Cap("cache.bin", 64 * MIB, "broker.storage.header:FILE_MAX", f"{HERE}::test_a_larger_cache_is_not_read"),
    Cap(
        "a record in it",
        128 * KIB,
        "broker.storage.header:VALUE_MAX",
        "tests/storage/test_records.py::test_too_much_is_refused_before_it_is_written",
    ),
    Cap(
        "a line of the audit trail",
        16 * KIB,
        "broker.storage.audit.chain:LINE_MAX",
        f"{HERE}::test_a_longer_line_is_none_of_the_trail",
    ),
    Cap(
        "a file of it",
        4 * MIB,
        "broker.storage.audit.files:_READ_MAX",
        f"{HERE}::test_a_larger_file_of_the_trail_is_not_read",
    ),
    Cap(
        "what the daemon answers the command line",
        16 * MIB,
        "broker.connection:ANSWER_MAX",
        "tests/test_client.py::test_an_endless_answer_is_cut_off",
    ),
    Cap(
        "what the daemon answers the helper",
        64 * KIB,
        "",
        "tests/helper/test_answers.py::test_any_printable_word_up_to_the_limit_is_a_token",
    ),
    Cap(
        "what the helper tells of its variables",
        16 * KIB,
        "",
        "tests/helper/test_surroundings.py::test_where_the_room_ends_names_go_on",
    ),
    Cap(
        "the folder that it tells",
        4 * KIB,
        "",
        "tests/helper/test_surroundings.py::test_a_folder_deeper_than_4096_bytes_is_left_out",
    ),
)


@pytest.mark.parametrize("cap", CAPS, ids=[cap.what for cap in CAPS])
def test_the_table_is_true(cap: Cap) -> None:
    """The limit stands in the source as it stands here, and what proves it is there."""
    module, _, name = cap.constant.partition(":")
    assert not module or getattr(importlib.import_module(module), name) == cap.limit
    assert exists(cap.proof)


def test_a_larger_config_is_refused(tmp_path: Path) -> None:
    """One byte more than a MiB."""
    assert read_text(sized(tmp_path / "at.toml", MIB)) == "\0" * MIB
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        read_text(sized(tmp_path / "over.toml", MIB + 1))


def sized(path: Path, size: int) -> Path:
    """Make a file of so many bytes, which takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
    path.chmod(0o600)
    return path


def test_larger_or_deeper_settings_are_refused() -> None:
    """A byte or a level more; at the limit they are read."""
    for right in (b"{}" + b" " * (MIB - 2), b'{"a":' * 63 + b"{}" + b"}" * 63):
        assert SettingsFile.read("/p", Scope.PROJECT, right).settings is not None
    for wrong in (b"{}" + b" " * (MIB - 1), b'{"a":' * 64 + b"{}" + b"}" * 64):
        assert SettingsFile.read("/p", Scope.PROJECT, wrong).settings is None


def test_a_larger_list_of_pins_is_refused() -> None:
    """What cannot be read allows nothing."""
    assert pins.parse(b'{"version": 1, "allowed": []}'.ljust(MIB)) == frozenset()
    with pytest.raises(pins.NotPins, match="larger than 1 MiB"):
        pins.parse(b'{"version": 1, "allowed": []}'.ljust(MIB + 1))


def test_a_longer_token_is_refused() -> None:
    """Claude Code would not take it."""
    assert answer.token("x" * secret.MAX_LENGTH, 0.0).parts
    with pytest.raises(answer.BadAnswer):
        answer.token("x" * (secret.MAX_LENGTH + 1), 0.0)


def test_a_larger_cache_is_not_read(tmp_path: Path) -> None:
    """It is set aside by whoever asked; nothing of that size comes into memory."""
    sized(tmp_path / disk.NAME, 64 * MIB + 1)
    with pytest.raises(Unreadable):
        disk.read(tmp_path)


def test_a_longer_line_is_none_of_the_trail() -> None:
    """It is not even parsed."""
    with pytest.raises(Malformed):
        parse(b'{"seq":1' + b" " * LINE_MAX + b"}")


def test_a_larger_file_of_the_trail_is_not_read(tmp_path: Path) -> None:
    """Somebody else made it so large."""
    with pytest.raises(UnsafePath, match="larger than"):
        audit_files.read(sized(tmp_path / audit_files.NAME, 4 * MIB + 1))


HOST: Final = b"Host: broker\r\nConnection: close\r\n"


def asked(target: bytes, headers: bytes = b"") -> bytes:
    """Write a request."""
    return b"GET " + target + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n"


def told(body: bytes) -> bytes:
    """Write one that unlocks."""
    return b"POST /v1/unlock HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body) + body


REQUESTS: Final = {
    "line": (asked(b"/v1/token?credential=" + b"x" * 8192), 400),
    "header": (asked(b"/v1/token", b"X-Broker-Env: " + b"x" * 20 * KIB + b"x\r\n"), 400),
    "headers": (asked(b"/v1/token", b"X: y\r\n" * 130), 400),
    "body": (told(b'{"passphrase": "' + b"x" * 64 * KIB), 413),
    "passphrase": (told(b'{"passphrase": "' + b"x" * (KIB + 1) + b'"}'), 400),
    "number": (asked(b"/v1/token?ttl_ms=" + b"9" * 19), 400),
}


@pytest.mark.slow
@pytest.mark.parametrize(("request_", "status"), REQUESTS.values(), ids=REQUESTS)
def test_a_request_beyond_a_limit_is_refused(careless: Daemon, request_: bytes, status: int) -> None:
    """By the real daemon, which then answers the next one."""
    answered = sent(careless, [request_])
    assert answered[:13].split(b" ")[1] == str(status).encode(), answered
    assert careless.place.is_serving()


@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    [b"", b"GET /", b"GET / HTTP/1.1\r\nX: ", b"POST /v1/unlock HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"],
    ids=["line", "path", "header", "body"],
)
def test_an_endless_request_is_cut_off(careless: Daemon, start: bytes) -> None:
    """Nobody can fill the daemon's memory by never coming to an end."""
    pieces = [start] + [b"x" * 64 * KIB] * 1600
    before = resident(careless)
    sent(careless, pieces)
    assert resident(careless) < before + 10 * MIB
    assert careless.place.is_serving()


def sent(daemon: Daemon, pieces: list[bytes]) -> bytes:
    """Send as much as is taken, and return what was answered."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE_S)
        connection.connect(str(daemon.place.socket))
        with suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
        answered = b""
        with suppress(ConnectionError):
            while more := connection.recv(KIB):
                answered += more
        return answered


def resident(daemon: Daemon) -> int:
    """Tell how much memory it has."""
    pages = Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
