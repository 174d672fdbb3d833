"""Fuzz target: Claude Code's settings files, as `broker setup claude-code` edits them and takes that back."""

from __future__ import annotations

import json
from typing import Final

from broker.integrations.claude_code import document
from broker.integrations.claude_code.document import NotEditable
from tests.fuzz.settings import PLANTED, SETTINGS
from tests.fuzz.target import one_line, pure

HELPER: Final = ("apiKeyHelper",)
TTL: Final = ("env", "CLAUDE_CODE_API_KEY_HELPER_TTL_MS")

LAYOUTS: Final = (
    b'{\r\n\t"model": "m",\r\n\t"env": {\r\n\t\t"A": "1"\r\n\t}\r\n}\r\n',
    b'{"apiKeyHelper" :"x","env":{"CLAUDE_CODE_API_KEY_HELPER_TTL_MS":"1"}}',
    f'{{"env": {{}}, "x": ["{PLANTED}", {{"y": "\\"{PLANTED}"}}]}}'.encode(),
    b'{"a": 1, // why\n "b": [1,],}',
    b"",
)
ODD: Final = (
    b'"env": {',
    b'"apiKeyHelper": ',
    b"//",
    b",}",
    b",",
    b"\\u0000",
    b"\r\n",
    b"\xef\xbb\xbf",
    b"1e999",
    b"NaN",
)


def check(content: bytes) -> None:
    """Edit the file, if it can be read at all."""
    try:
        text = content.decode()
        edited = document.put(document.put(text, HELPER, "/x/broker-helper"), TTL, "300000")
        before = document.load(text)
    except UnicodeDecodeError:
        return
    except NotEditable as refused:
        one_line(str(refused), PLANTED)
        return
    env = before.get("env", {}) | {TTL[1]: "300000"}
    assert document.load(edited) == before | {HELPER[0]: "/x/broker-helper", "env": env}
    assert PLANTED not in "".join(_values(json.loads(document.mask(edited).removeprefix("\ufeff"))))
    if HELPER[0] not in before:
        assert document.load(document.drop(edited, HELPER)) == before | {"env": env}


def _values(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _values(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _values(inner)]
    return [str(value)]


EDITING: Final = pure(
    "editing",
    "an edit says what was meant and nothing else, or is refused in one line; what is shown holds no value of the file",
    (*SETTINGS, *LAYOUTS),
    check,
    2_000,
    odd=ODD,
)
