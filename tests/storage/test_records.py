"""What can be relied on of a file of records: it comes back as it was, or with a word on what is wrong with it."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.storage import header as heading
from broker.storage.header import CHECKSUM_BYTES, RECORDS_MAX, SIZE, Cost, Header, Reason, Unreadable, finished, parse
from broker.storage.keys import RootKey
from broker.storage.records import decode, encode

ROOT: Final = RootKey(b"fake-material-of-the-key-in-tests")
TAG: Final = 16
START: Final = struct.Struct(">8sHI")
FRAME: Final = struct.Struct(">HI")
RECORDS: Final = {"secret/one": b"fake-token-1", "token/two": b"fake-token-2", "token/three": b""}

names = st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable())
some_records = st.dictionaries(names, st.binary(max_size=200), max_size=6)
headers = st.builds(
    Header,
    home=st.sampled_from(["keyring", "systemd"]),
    salt=st.binary(min_size=16, max_size=16),
    key_id=st.just(b""),
    generation=st.integers(0, 2**64 - 1),
    count=st.just(0),
    write_id=st.binary(min_size=32, max_size=32),
)


def a_header(generation: int = 7) -> Header:
    """Make the header of one write of one store."""
    return Header("keyring", b"s" * 16, b"", generation, 0, os.urandom(32))


def a_file(records: Mapping[str, bytes] = RECORDS, generation: int = 7) -> bytes:
    """Write one."""
    return encode(a_header(generation), ROOT, records)


def why_refused(data: bytes, root: RootKey = ROOT) -> Reason:
    """Say why it does not decode; fail where it does."""
    with pytest.raises(Unreadable) as refused:
        decode(data, root)
    return refused.value.reason


def frames(data: bytes) -> list[bytes]:
    """Cut a file's records apart."""
    found, at = [], SIZE + TAG
    while at < len(data) - CHECKSUM_BYTES:
        sizes = FRAME.unpack_from(data, at)
        found.append(data[at : at + FRAME.size + sum(sizes)])
        at += len(found[-1])
    return found


def forged(head: bytes, records: list[bytes]) -> bytes:
    """Join parts into a file whose length and checksum fit, as an attacker would."""
    body = head + b"".join(records)
    magic, version, _length = START.unpack_from(body)
    return finished(START.pack(magic, version, len(body) + CHECKSUM_BYTES) + body[START.size :])


@given(headers, some_records)
def test_what_was_written_is_read(header: Header, records: dict[str, bytes]) -> None:
    """Any names and values, none too; and the header with them."""
    found, values = decode(encode(header, ROOT, records), ROOT)
    assert values == records
    assert replace(found, key_id=b"", count=0) == header


def test_the_cost_of_a_passphrase_is_kept() -> None:
    """A file is read with the cost that it was written with, whatever the next version's default."""
    cost = Cost(log_n=15, r=8, p=2)
    header = Header("passphrase", b"s" * 16, b"", 1, 0, os.urandom(32), cost)
    assert parse(encode(header, ROOT, {})).cost == cost


def test_no_value_is_readable_in_the_file() -> None:
    """Nor are two writes of the same records alike."""
    first, second = a_file(), a_file()
    assert b"fake-token" not in first
    assert first != second
    assert not set(frames(first)) & set(frames(second))


@given(st.integers(0, len(a_file()) * 8 - 1))
def test_a_flipped_bit_is_damage(bit: int) -> None:
    """Anywhere: never another key's or a later version's file, for which a person would look in the wrong place."""
    data = bytearray(a_file())
    data[bit // 8] ^= 1 << bit % 8
    assert why_refused(bytes(data)) in {Reason.CORRUPT, Reason.TRUNCATED}


@given(st.integers(0, (len(a_file()) - CHECKSUM_BYTES) * 8 - 1))
def test_a_flipped_bit_under_a_new_checksum_is_found_too(bit: int) -> None:
    """Whoever changes the file can make the checksum fit, but not the seals."""
    data = bytearray(a_file())[:-CHECKSUM_BYTES]
    data[bit // 8] ^= 1 << bit % 8
    why_refused(finished(bytes(data)))


@given(st.integers(0, len(a_file()) - 1))
def test_a_file_that_ends_early_is_truncated(length: int) -> None:
    """Wherever it ends."""
    assert why_refused(a_file()[:length]) is Reason.TRUNCATED


@given(st.binary(min_size=1, max_size=300))
def test_what_follows_the_end_is_damage(more: bytes) -> None:
    """A file is read to its last byte."""
    assert why_refused(a_file() + more) is Reason.CORRUPT


@given(st.binary(max_size=400))
def test_any_other_bytes_are_refused_with_a_reason(data: bytes) -> None:
    """Never by an error of the library's, whatever comes."""
    assert why_refused(data) in Reason
    assert why_refused(finished(a_file()[: START.size] + data)) in Reason


@given(st.permutations(range(3)).filter(lambda order: order != [0, 1, 2]))
def test_records_that_changed_places_are_found(order: list[int]) -> None:
    """Each is sealed in its place."""
    data = a_file()
    records = frames(data)
    assert why_refused(forged(data[: SIZE + TAG], [records[place] for place in order])) is Reason.CORRUPT


@pytest.mark.parametrize("chosen", [[0, 1], [0, 1, 1], [0, 1, 2, 2], []])
def test_records_left_out_or_doubled_are_found(chosen: list[int]) -> None:
    """The header counts them."""
    data = a_file()
    records = frames(data)
    assert why_refused(forged(data[: SIZE + TAG], [records[place] for place in chosen])) is Reason.CORRUPT


@pytest.mark.parametrize("count", [0, 1, 2, 4, RECORDS_MAX, RECORDS_MAX + 1, 2**32 - 1])
def test_another_count_does_not_help(count: int) -> None:
    """It is sealed with the rest of the header."""
    data = a_file()
    at = SIZE - 32 - 4
    head = data[:at] + struct.pack(">I", count) + data[at + 4 : SIZE + TAG]
    assert why_refused(forged(head, frames(data)[:count])) is Reason.CORRUPT


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_record_of_another_write_is_found(place: int) -> None:
    """Same key, same store, same place and name: yet yesterday's secret cannot be put into today's file."""
    before, now = a_file(generation=6), a_file(generation=7)
    mixed = frames(now)
    mixed[place] = frames(before)[place]
    assert why_refused(forged(now[: SIZE + TAG], mixed)) is Reason.CORRUPT
    assert why_refused(forged(now[:SIZE] + before[SIZE : SIZE + TAG], frames(before))) is Reason.CORRUPT


def test_a_record_under_another_name_is_found() -> None:
    """A secret cannot be made to be served as another credential."""
    data = a_file()
    records = [frame.replace(b"secret/one", b"secret/two") for frame in frames(data)]
    assert why_refused(forged(data[: SIZE + TAG], records)) is Reason.CORRUPT


def test_another_key_is_told_from_damage() -> None:
    """A person then looks for the right keyring instead of a broken disk."""
    assert why_refused(a_file(), RootKey(b"another-fake-material")) is Reason.FOREIGN


def test_a_later_version_is_told_from_damage() -> None:
    """Whatever it holds: only magic, version, length and checksum stay where they are."""
    magic, _version, _length = START.unpack_from(a_file())
    later = finished(START.pack(magic, heading.VERSION + 1, START.size + 9 + CHECKSUM_BYTES) + b"whatever.")
    assert why_refused(later) is Reason.FUTURE


@pytest.mark.parametrize(
    "cost",
    [Cost(31, 8, 1), Cost(17, 200, 1), Cost(17, 8, 200), Cost(1, 8, 1), Cost(17, 0, 1)],
    ids=["n", "r", "p", "little", "none"],
)
def test_a_file_cannot_ask_for_all_memory_or_for_a_weak_key(cost: Cost) -> None:
    """Who puts a file there can neither stop the machine with it, nor make guessing cheap."""
    header = Header("passphrase", b"s" * 16, b"", 1, 0, os.urandom(32), cost)
    assert why_refused(encode(header, ROOT, {})) is Reason.CORRUPT


def test_too_much_is_refused_before_it_is_written() -> None:
    """A file that could not be read again is not written."""
    with pytest.raises(ValueError, match="too much"):
        a_file({str(number): b"" for number in range(RECORDS_MAX + 1)})


def test_a_key_is_never_shown() -> None:
    """Neither by a log line nor by a pickle."""
    assert "fake" not in repr(ROOT)
    with pytest.raises(TypeError, match="cannot be pickled"):
        ROOT.__reduce__()
