"""Claude Code's settings: where they are, what makes Claude Code ask us, and what would win over us.

Contract: https://code.claude.com/docs/en/settings and /en/authentication; measured on 2.1.197 and 2.1.330.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from broker.errors import ConfigError
from broker.integrations import textfile
from broker.integrations.claude_code import document
from broker.integrations.claude_code.document import Keys, lookup

SCOPES: Final = ("user", "project", "local")
HELPER: Final[Keys] = ("apiKeyHelper",)
TTL: Final[Keys] = ("env", "CLAUDE_CODE_API_KEY_HELPER_TTL_MS")
BASE_URL: Final[Keys] = ("env", "ANTHROPIC_BASE_URL")

TTL_MIN_S: Final = 2.0
"""Below this Claude Code 2.1.330, which takes a second to ask again, could not be told from one whose token was refused."""

_STRONGER: Final = ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY")
_PROVIDERS: Final = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
_MANAGED: Final = (
    Path("/Library/Application Support/ClaudeCode/managed-settings.json")
    if sys.platform == "darwin"
    else Path("/etc/claude-code/managed-settings.json")
)


def location(scope: str, project: Path, env: Mapping[str, str]) -> Path:
    """Name the settings file of a scope; it need not exist. Raises `ConfigError` without a home."""
    if scope != "user":
        return project / ".claude" / ("settings.json" if scope == "project" else "settings.local.json")
    if folder := env.get("CLAUDE_CONFIG_DIR"):
        return Path(folder).absolute() / "settings.json"
    if home := env.get("HOME"):
        return Path(home).absolute() / ".claude" / "settings.json"
    raise ConfigError(
        ["neither HOME nor CLAUDE_CONFIG_DIR is set, so Claude Code's settings cannot be found; set HOME"]
    )


def command(helper: Path, *arguments: str) -> str:
    """Write the helper's command line for `sh -c`. Raises `ConfigError` for a path that JSON cannot hold."""
    line = shlex.join([str(helper), *arguments])
    if not line.isprintable():
        raise ConfigError([f"{line!r}: Claude Code's settings cannot name this path; install the broker elsewhere"])
    return line


def is_ours(value: object) -> bool:
    """Whether an `apiKeyHelper` is a `broker-helper`, wherever it is installed."""
    return isinstance(value, str) and Path(_first_word(value)).name == "broker-helper"


def described(value: object) -> str:
    """Name a foreign helper by its program alone: people write `echo SECRET` there, and even the bare secret."""
    word = _first_word(value) if isinstance(value, str) else ""
    return word if word.isprintable() and _is_program(word) else "another helper"


def stronger(
    settings: Mapping[str, Any], place: str, env: Mapping[str, str], switches: Collection[str], *, helper: bool
) -> Iterator[str]:
    """Say which variables would win over the setup, and how to be rid of them; never their values.

    `switches`: those to the provider that is meant; `helper`: whether the helper's token is what it gets.
    """
    own = settings.get("env")
    own = own if isinstance(own, dict) else {}
    others = [name for name in _PROVIDERS if name not in switches]
    meant = "than the one set up here" if switches else "than Anthropic"
    for name in (*(_STRONGER if helper else ()), *others):
        what = "wins over the helper" if name in _STRONGER else f"makes Claude Code use another provider {meant}"
        if own.get(name):
            yield f"{name} in the env of {place} {what}; remove it there"
        elif env.get(name) and name not in own:
            yield f"{name} in your environment {what}; take it out of your shell's start-up files, and here: unset {name}"


def overruling(scope: str, project: Path, keys: Keys = HELPER) -> Iterator[str]:
    """Name settings that beat those of `scope` and have a helper of their own in this place."""
    higher = [_MANAGED]
    if scope != "local":
        higher.append(location("local", project, {}))
    if scope == "user":
        higher.append(location("project", project, {}))
    for path in higher:
        try:
            text = textfile.read(path).text
            found, value = lookup(document.load(text or ""), keys)
        except (textfile.FileProblem, document.NotEditable):
            continue  # not ours to judge here
        if found and not is_ours(value):
            yield f"{path} names a helper of its own ({described(value)}), which wins"


def _is_program(word: str) -> bool:
    try:
        return shutil.which(Path(word).expanduser()) is not None
    except (OSError, ValueError, RuntimeError):  # too long a name, a NUL, a user unknown here
        return False


def _first_word(line: str) -> str:
    try:
        return next(iter(shlex.split(line)), "")
    except ValueError:
        return next(iter(line.split(maxsplit=1)), "")
