"""What of a settings file is taken at its word: only what every reader of JSON reads in the same way."""

from __future__ import annotations

import codecs
import json
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.engine.destination.strict import DEPTH_MAX, SEPARATORS_MAX, SIZE_MAX, NotStrict, parse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=5), st.sampled_from([None, 2]))
def test_plain_json_says_what_it_says(value: dict[str, object], indent: int | None) -> None:
    """Whatever a program writes as JSON is read back unchanged, however it is laid out."""
    assert parse(json.dumps(value, indent=indent).encode()) == value


@settings(deadline=None)
@given(st.binary(max_size=64) | st.text(alphabet='{}[]",:\\u0aX\n ', max_size=64).map(str.encode))
def test_any_bytes_are_read_or_refused_in_words(content: bytes) -> None:
    """No content of a file makes more than one short reason."""
    reason = ""
    try:
        parse(content)
    except NotStrict as raised:
        reason = str(raised)
    assert reason == "" or reason.isprintable()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b'{"x": "' + b"y" * SIZE_MAX + b'"}', "larger than 1 MiB", id="large"),
        pytest.param(codecs.BOM_UTF8 + b"{}", "byte-order mark", id="byte-order mark"),
        pytest.param(codecs.BOM_UTF16_LE + "{}".encode("utf-16-le"), "not UTF-8", id="UTF-16"),
        pytest.param("{}".encode("utf-16-le"), "not valid JSON", id="UTF-16 without a mark"),
        pytest.param(b'{"x": "\xff"}', "not UTF-8", id="not UTF-8"),
        pytest.param(b'{"x": "\xed\xa0\x80"}', "not UTF-8", id="half a character"),
        pytest.param(b'{"x": 1, "x": 1}', "a key twice", id="a key twice"),
        pytest.param(b'{"y": [{"x": 1, "\\u0078": 2}]}', "a key twice", id="a key twice, escaped, inside"),
        pytest.param(b"{} {}", "not valid JSON", id="two values"),
        pytest.param(b"{}\0", "not valid JSON", id="NUL behind"),
        pytest.param(b"// x\n{}", "not valid JSON", id="comment"),
        pytest.param(b'{"x": 1,}', "not valid JSON", id="trailing comma"),
        pytest.param("\N{NO-BREAK SPACE}".encode(), "not valid JSON", id="a blank that is none of JSON's"),
        pytest.param(b"\0", "not valid JSON", id="NUL alone"),
        pytest.param(b'{"x": ' + b"9" * 5000 + b"}", "a number of more than 64 digits", id="a huge number"),
        pytest.param(b'{"x": NaN}', "NaN, which JSON does not know", id="NaN"),
        pytest.param(b'{"x": -Infinity}', "-Infinity, which JSON does not know", id="-Infinity"),
        pytest.param(b"[]", "not a JSON object", id="a list"),
        pytest.param(b"null", "not a JSON object", id="null"),
        pytest.param(b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "commas and brackets", id="endlessly deep"),
        pytest.param(b'{"x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested deeper", id="very deep"),
        pytest.param(b'{"x": [' + b"0," * SEPARATORS_MAX + b"0]}", "more than 16384 commas", id="many values"),
        pytest.param(b'{"x": ' + b"[" * DEPTH_MAX + b"]" * DEPTH_MAX + b"}", "nested deeper", id="one level too deep"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(content: bytes, reason: str) -> None:
    """The reason says what is wrong with it, in words that follow the file's name."""
    with pytest.raises(NotStrict, match=reason):
        parse(content)


@pytest.mark.parametrize("content", [b"", b" ", b"\n", b" \t\r\n" * 100])
def test_an_empty_file_sets_nothing(content: bytes) -> None:
    """There is nothing in it to read in two ways."""
    assert parse(content) == {}


def test_nesting_up_to_the_bound_is_read() -> None:
    """Brackets inside a text are no nesting."""
    inside = b"[" * (DEPTH_MAX - 1) + b"]" * (DEPTH_MAX - 1)
    assert "x" in parse(b'{"x": ' + inside + b', "y": "' + b"[" * 1000 + b'"}')


@settings(max_examples=50, deadline=None)
@given(st.integers(DEPTH_MAX - 5, DEPTH_MAX + 1), st.integers(), JSON)
def test_nesting_is_counted_over_lists_and_objects(levels: int, kinds: int, inside: object) -> None:
    """Refused is exactly what an independent count finds too deep, whatever lies at the bottom."""
    value = inside
    for level in range(levels):
        value = [0, value] if kinds >> level & 1 else {"x": value}
    whole = {"y": value}
    if _depth(whole) > DEPTH_MAX:
        with pytest.raises(NotStrict, match="nested deeper"):
            parse(json.dumps(whole).encode())
    else:
        assert parse(json.dumps(whole).encode()) == whole


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 1


HOSTILE = {
    "lists": b"[]",
    "deep lists": b"[" * 60 + b"]" * 60,
    "deep objects": b'{"":' * 60 + b"0" + b"}" * 60,
    "objects": b'{"":0}',
    "long numbers": b"1" * 4300,
    "long fractions": b"1." + b"1" * 4300,
    "exponents": b"1e300",
    "texts": b'"' + b"\\u0041" * 20_000 + b'"',
}


@pytest.mark.parametrize("share", [1.0, 0.01])
@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
def test_no_file_takes_long_to_read(unit: bytes, share: float) -> None:
    """A project that writes hostile files could hold up everybody's answers: reading holds the interpreter's lock."""
    content = b'{"x":[' + b",".join([unit] * (int(share * (SIZE_MAX - 20)) // (len(unit) + 1))) + b"]}"
    before = time.thread_time()
    with suppress(NotStrict):
        parse(content)
    assert time.thread_time() - before < 0.1
