"""What a failing program said of its failure, fit to be shown: one short line without anything secret."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from broker.secret import Secret, scrub

LENGTH_MAX: Final = 200

_TERMINAL: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
_BETWEEN_WORDS: Final = re.compile(r"[\s\"'`,;:=(){}\[\]<>]+")
_NAMED: Final = re.compile(
    r"(?i)(?P<name>(?:pass(?:word|wd|phrase|code)?|pwd|token|secret|credential|authorization|(?:api|access|private)[_ -]?key)"
    r"[\w-]{0,30}[\"'\]]{0,2}\s{0,3}(?::=|[:=])\s{0,3}(?:(?:bearer|basic)\s{1,3})?)"
    r"(?:>\s{1,3}\S+|\"(?:\\.|[^\"\\])*\"?|'(?:\\.|[^'\\])*'?|\S+)"
)
"""`password=XYZ`, `"api_key": "XYZ"`, `Authorization: Bearer XYZ`: a value too short to look like a key is one here.

Of `name => XYZ` the head of the arrow is masked too: it may as well be how a value begins."""

_BEARER: Final = re.compile(r"(?i)(?P<name>\bbearer\s{1,3})\S+")
_USERINFO: Final = re.compile(r"(?P<name>://)[^\s/@]{1,500}(?=@)")
_SECRET_LIKE: Final = re.compile(
    r"\b(?:sk-|eyJ|hvs\.|hvb\.|gh[a-z]_|xox[a-z]-|AKIA|ASIA|ya29\.|demo-)[A-Za-z0-9_.~+/=-]{4,}"
    r"|[A-Za-z0-9_~+=-]{32,}"
)
"""Well-known beginnings of keys, and any run too long for a word: a program may quote a key it was never given."""


def last_line(stderr: bytes, stdout: bytes, secrets: Iterable[str]) -> str:
    """Give the last line of `stderr` that says anything, without control characters and at most 200 characters.

    Every word that is also in `stdout` is masked (half a token may be there), and so are `secrets`, what looks like
    a key, and what follows words such as `password=`.
    """
    lines = (_plain(line) for line in reversed(stderr.decode(errors="replace").splitlines()))
    line = next((line for line in lines if line), "")
    words = _BETWEEN_WORDS.split(_plain(stdout.decode(errors="replace")))
    line = _without(line, secrets)
    for named in (_NAMED, _BEARER, _USERINFO):  # before the words of `stdout`: `token` may be one of them
        line = named.sub(r"\g<name>***", line)
    line = _SECRET_LIKE.sub("***", _without(line, words))
    return line if len(line) <= LENGTH_MAX else line[: LENGTH_MAX - 3] + "..."


def _without(line: str, known: Iterable[str]) -> str:
    return scrub(line, (Secret(text) for text in sorted(set(known), key=len, reverse=True)))


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in _TERMINAL.sub("", text)).strip()
