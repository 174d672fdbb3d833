"""Fuzz target: Claude Code's settings files, as the audience guard reads and judges them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from broker import audience
from broker.engine.destination import Known, Refused, Scope, SettingsFile, judge
from tests.fuzz.target import one_line, pure

HOME: Final = re.compile(r"https://api\.anthropic\.com(?::0*443)?(?:/[!$-;=A-Z_a-z~]*)?", re.ASCII | re.IGNORECASE)
ELSEWHERE: Final = (
    *(b"@127.0.0.1", b"\\\\@x", b".evil.example", b"/..;/", b"/../", b"%2e", b":80", b"?", b"\\u0000", b"\\t", b"//x"),
    *(b"HTTPS://", b"http:", b"[::1]", b"0x7f.1", b"xn--", b'"ANTHROPIC_BASE_URL": "', b'"env": {', b"ALL_PROXY"),
)
"""Pieces that lead URL parsers apart."""

PLANTED: Final = "fake-planted-secret-3d5e"
"""In the inputs, where a careless message would quote it."""

SETTINGS: Final = (
    b"{}",
    b'{"env": {"ANTHROPIC_BASE_URL": "https://api.anthropic.com", "FOO": "1"}, "model": "m"}',
    b'{"env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1", "HTTPS_PROXY": "http://p", "NODE_OPTIONS": "-r x"}}',
    b'{"env": {"CLAUDE_CODE_USE_BEDROCK": 1, "A": null, "B": true, "C": ["x"], "D": {"e": 1.5}}, "env2": {}}',
    f'{{"env": {{"ANTHROPIC_AUTH_TOKEN": "{PLANTED}", "ANTHROPIC_BASE_URL": "http://{PLANTED}@x"}}}}'.encode(),
    b'{"permissions": {"allow": ["Bash(ls:*)"]}, "hooks": {"x": [{"matcher": "", "hooks": []}]}, "env": {}}',
    b'{"env": {"A": "1"}, "env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}}',
    b"\xef\xbb\xbf{}",
    '{"env": {"A": "1"}}'.encode("utf-16"),
    b"[" * 100_000,
    b'{"a":' * 70 + b"1" + b"}" * 70,
)


def check_settings(content: bytes) -> None:
    """Refused, or read as any other JSON reader would; and the verdict on it is one line without a secret."""
    found = SettingsFile.read("/p/.claude/settings.json", Scope.PROJECT, content)
    if not content.strip(b" \t\r\n"):
        assert found.settings == {}  # Claude Code takes nothing from it either (tests/real/test_destination.py)
    elif found.settings is not None:
        assert json.loads(content.decode(), object_pairs_hook=_all_pairs) == _as_pairs(found.settings)
    for scope in Scope:
        told = judge(
            Known("/p", (SettingsFile.read("/p/.claude/settings.json", scope, content),)),
            ["https://api.anthropic.com"],
            frozenset(),
        )
        if isinstance(told, Refused):
            one_line(told.reason, "" if names_it_in_a_path(found.settings) else PLANTED)
        else:
            assert found.settings is not None
            assert goes_home(found.settings)


def names_it_in_a_path(settings: Mapping[str, Any] | None) -> bool:
    """Whether damage made a plain base URL with the planted text in its path: such a URL is shown, to be recognized."""
    env = (settings or {}).get("env")
    values = env.values() if isinstance(env, dict) else ()
    return any(isinstance(url, str) and PLANTED in url and audience.problem(url) is None for url in values)


def goes_home(settings: Mapping[str, Any]) -> bool:
    """Whether the base URL in there, if any, is Anthropic's own by a second and simpler reading."""
    env = settings.get("env")
    url = env.get("ANTHROPIC_BASE_URL") if isinstance(env, dict) else None
    return not url or (isinstance(url, str) and HOME.fullmatch(url) is not None)


def _all_pairs(pairs: Sequence[tuple[str, Any]]) -> Any:  # noqa: ANN401  # whatever JSON holds
    return sorted(pairs, key=lambda pair: pair[0])


def _as_pairs(value: Any) -> Any:  # noqa: ANN401  # whatever JSON holds
    if isinstance(value, dict):
        return sorted(((name, _as_pairs(inner)) for name, inner in value.items()), key=lambda pair: pair[0])
    return [_as_pairs(inner) for inner in value] if isinstance(value, list) else value


SETTINGS_FILE: Final = pure(
    "settings",
    "refused, or read as every reader would; verdicts show no value",
    SETTINGS,
    check_settings,
    2000,
    odd=ELSEWHERE,
)
