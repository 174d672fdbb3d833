"""Editing JSON in place: what is not ours keeps every byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.integrations.claude_code import document
from broker.integrations.claude_code.document import NotEditable

HELPER = ("apiKeyHelper",)
TTL = ("env", "TTL")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '{\n  "env": {\n    "TTL": "1"\n  }\n}\n'),
        (" \n", '{\n  "env": {\n    "TTL": "1"\n  }\n}\n'),
        ("\ufeff", '\ufeff{\n  "env": {\n    "TTL": "1"\n  }\n}\n'),
        ("{}", '{\n  "env": {\n    "TTL": "1"\n  }\n}'),
        ('{"a":1}', '{"a":1,"env":{"TTL": "1"}}'),
        ('{ "a": 1 }', '{ "a": 1, "env": {"TTL": "1"} }'),
        ('{"a": 1, "env": {}}', '{"a": 1, "env": {"TTL": "1"}}'),
        ('{"env":{"X":"2"}}', '{"env":{"X":"2","TTL":"1"}}'),
        ('{\n\t"a": 1\n}\n', '{\n\t"a": 1,\n\t"env": {\n\t\t"TTL": "1"\n\t}\n}\n'),
        ('{\r\n    "env": {}\r\n}', '{\r\n    "env": {\r\n        "TTL": "1"\r\n    }\r\n}'),
        ('{\n    "env" : { "TTL" : "300" } }', '{\n    "env" : { "TTL" : "1" } }'),
        (
            '{"b": {"c": [1,  2]},\n "a": "\\u00e9\\/"}',
            '{"b": {"c": [1,  2]},\n "a": "\\u00e9\\/",\n "env": {\n   "TTL": "1"\n }}',
        ),
    ],
)
def test_a_value_is_set_in_the_layout_of_the_file(before: str, after: str) -> None:
    """Indentation, tabs, line ends, byte-order mark, odd spaces and escapes: all as the person had them."""
    assert document.put(before, TTL, "1") == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"apiKeyHelper": "x"}', "{}"),
        ('{"apiKeyHelper": "x", "b": 1}', '{"b": 1}'),
        ('{\n  "a": 1,\n  "apiKeyHelper": "x"\n}\n', '{\n  "a": 1\n}\n'),
        ('{"a": 1, "apiKeyHelper": "x", "b": 1}', '{"a": 1, "b": 1}'),
        ('{"a": 1}', '{"a": 1}'),
    ],
)
def test_a_value_is_taken_out_with_its_comma(before: str, after: str) -> None:
    """What is left is the file as if it had never been there."""
    assert document.drop(before, HELPER) == after


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1,}', "line 1, column 9: not valid JSON; JSON has no comma after the last value: remove it"),
        ('{"a": [1,]}', "line 1, column 10: not valid JSON; JSON has no comma after the last value: remove it"),
        ('{"a": 1 // why\n}', "line 1, column 9: not valid JSON; JSON has no comments: remove them"),
        ("/* mine */ {}", "line 1, column 1: not valid JSON; JSON has no comments: remove them"),
        ('{"a": "fake-secret', "line 1, column 7: not valid JSON"),
        ("[]", "holds no JSON object; it must begin with {"),
        ('{"a": NaN}', "not JSON that others read alike: NaN, a number too long, or nested too deep"),
        (f'{{"a": {"1" * 5000}}}', "not JSON that others read alike: NaN, a number too long, or nested too deep"),
        ("[" * 100_000, "not JSON that others read alike: NaN, a number too long, or nested too deep"),
        ('{"env": "x"}', "env: expected an object {...}"),
        ('{"env": {}, "env": {}}', "env stands there 2 times; leave one"),
        ('{"env": {"TTL": "1", "TTL": "2"}}', "TTL stands there 2 times; leave one"),
    ],
)
def test_what_is_not_plain_is_refused_with_the_place(text: str, said: str) -> None:
    """And nothing of the text is quoted: it may be a secret."""
    with pytest.raises(NotEditable) as refused:
        document.put(text, TTL, "1")
    assert str(refused.value) == said


@pytest.mark.parametrize("depth", range(900, 1000, 3))
def test_nesting_near_the_interpreters_limit_is_an_answer_too(depth: int) -> None:
    """Either the edit or a refusal, whatever depth the stack allows here."""
    text = '{"a": ' + "[" * depth + "]" * depth + "}"
    refused = ""
    edited = text
    try:
        edited = document.put(text, TTL, "1")
    except NotEditable as error:
        refused = str(error)
    assert edited.endswith('"env": {"TTL": "1"}}') or "nested too deep" in refused


def test_a_foreign_key_that_is_there_twice_stays_twice() -> None:
    """It is not ours to tidy up."""
    assert document.put('{"x": 1, "x": 2}', HELPER, "h") == '{"x": 1, "x": 2, "apiKeyHelper": "h"}'


def test_a_masked_text_shows_keys_and_layout_only() -> None:
    """No value of any kind is left to read, escaped quotes or not."""
    text = '{"env": {"KEY": "fake\\"-secret: 1"}, "n": [12.5e3, true, null, "x"],\n "a:b" : {}}'
    masked = document.mask(text)
    assert masked == '{"env": {"KEY": "…"}, "n": ["…", "…", "…", "…"],\n "a:b" : {}}'
    assert json.loads(masked)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
layouts = st.sampled_from(
    [{"indent": None}, {"indent": 2}, {"indent": "\t"}, {"separators": (",", ":")}, {"indent": 0}]
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=5), values, max_size=4), layouts, st.booleans(), st.booleans())
def test_an_edit_says_what_was_meant_and_its_undo_gives_the_text_back(
    tree: dict[str, Any],
    layout: dict[str, Any],
    ascii_only: bool,  # noqa: FBT001  # hypothesis gives them by position
    crlf: bool,  # noqa: FBT001  # hypothesis gives them by position
) -> None:
    """Whatever else the file holds, in whatever layout."""
    tree.pop("env", None)
    text = json.dumps(tree, ensure_ascii=ascii_only, **layout).replace("\n", "\r\n" if crlf else "\n")
    edited = document.put(document.put(text, HELPER, "/x y"), TTL, "1")
    assert json.loads(edited) == tree | {"apiKeyHelper": "/x y", "env": {"TTL": "1"}}
    assert list(json.loads(edited))[: len(tree)] == list(tree)
    if tree and "apiKeyHelper" not in tree:
        assert edited.startswith(text.rstrip("\r\n\t }"))
        assert document.drop(document.drop(edited, ("env",)), HELPER) == text
    json.loads(document.mask(edited))


@settings(max_examples=60)
@given(st.text(max_size=60) | st.text(alphabet='{}[]",:/ \n\\ue1', max_size=30))
def test_any_text_is_edited_or_refused(text: str) -> None:
    """There is no third outcome."""
    try:
        edited = document.put(text, TTL, "1")
    except NotEditable:
        return
    assert document.lookup(document.load(edited), TTL) == (True, "1")
