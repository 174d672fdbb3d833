"""What was found in a file of another tool's: the words that its readers share."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from broker import audience
from broker.model import NAME
from broker.secret import Secret, flaw

ANTHROPIC: Final = "https://api.anthropic.com"

_KEY_ID: Final = re.compile(r"A[A-Z0-9]{15,127}", re.ASCII)
"""Stricter than our config, where an ID is plain text: a secret key in its place has small letters, or a slash."""
_VARIABLE: Final = re.compile(r"\$\{(\w+)|\A\$([A-Za-z_]\w*)\Z|\Aos\.environ/(\w+)\Z", re.ASCII)
"""How such files name one: `${NAME}`, also with a default; `$NAME`; LiteLLM's `os.environ/NAME`."""
_FILL_IN: Final = "put its value into the file, and import it again"
_WORD: Final = re.compile(r"[A-Za-z0-9][\w.:/@-]*", re.ASCII)
_SHOWN_MAX: Final = 64
_TOKEN_LIKE: Final = re.compile(r"sk-|eyJ|A[KS]IA|[A-Za-z0-9_+/=-]{33}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Kept:
    """A secret in a table, until it has its place in the store; `suffix`: what follows the credential's name there."""

    secret: Secret
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """One credential. `name` is the other tool's; `source` None: it is a secret of our own store.

    In both tables a `Kept` stands for each secret. `about`: what a person should know of it. `notes`: commands that
    a person may want to run next, with NAME for our name of it.
    """

    name: str
    credential: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] | None = None
    key: Kept | None = None
    about: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """All that was found; `remarks` say what is not carried over, and why."""

    found: tuple[Found, ...]
    remarks: tuple[str, ...] = ()


class NotCarried(Exception):
    """One entry of the file cannot become a credential; says why, without any of its values."""


def key(name: str, text: str, base_url: str | None = None, chosen: str = "") -> Found:
    """Make a credential of a key and the place that it is for. Raises `NotCarried`.

    `chosen`: further options of the setup that puts it to use.
    """
    if (problem := flaw(text)) is not None:
        raise NotCarried(f"its key {problem}")
    credential = released_for(base_url)
    where = "".join(at(url) for url in credential.get("audience", ()))
    setup = f"broker setup claude-code --credential NAME{where}{chosen}"
    store = f"give its value to: broker secret set NAME; then: {setup}"
    own = name if NAME.fullmatch(name) and shown(name) == name else "NAME"
    check_is_here("its key", text, store.replace("NAME", own))
    return Found(name, key=Kept(Secret(text)), credential=credential, notes=(setup,))


def check_is_here(what: str, text: str, mend: str) -> None:
    """Raise `NotCarried` where a text only names the variable that holds it; that is VARIABLE in `mend`.

    Nothing is put in its place: which of this shell's variables the other tool would see is not known.
    """
    found = _VARIABLE.search(text)
    if found is not None:
        variable = shown(next(filter(None, found.groups())))
        mend = mend.replace("VARIABLE", variable)
        raise NotCarried(f"{what} is a reference to a variable, {variable}, and not here; {mend}")


def released_for(base_url: str | None) -> dict[str, Any]:
    """Write the audience of a base URL; none for Anthropic's own, which is the usual one. Raises `NotCarried`."""
    if not base_url:
        return {}
    check_is_here("its base URL", base_url, _FILL_IN)
    url = base_url.rstrip("/")
    url = url.removesuffix("/v1")  # Claude Code adds that itself, and its own base URL goes without
    if (problem := audience.problem(url)) is not None:
        raise NotCarried(f"its base URL cannot be an audience: {problem}")
    return {} if url == ANTHROPIC else {"audience": [url]}


def aws_keys(key_id: str, secret: str, session_token: str = "") -> dict[str, Any]:
    """Write the keys of an `aws` source. Raises `NotCarried`."""
    if not (key_id and secret):
        raise NotCarried("of access key and secret key one is missing")
    check_is_here("its access key", key_id, _FILL_IN)
    if not _KEY_ID.fullmatch(key_id):
        raise NotCarried("its access key is no ID such as AKIA followed by capital letters and digits")
    parts = {"secret_access_key": secret, "session_token": session_token}
    for name, text in parts.items():
        if text and (problem := flaw(text)) is not None:
            raise NotCarried(f"its {name} {problem}")
        by_hand = f'with type = "aws" and {name} = {{ env = "VARIABLE" }}, which the daemon has to see'
        check_is_here(f"its {name}", text, f"{_FILL_IN}, or write a source by hand, {by_hand}")
    kept = {name: Kept(Secret(text), name.replace("_", "-")) for name, text in parts.items() if text}
    return {"access_key_id": key_id, **kept}


def with_sessions(keys: dict[str, Any]) -> dict[str, Any]:
    """Have sessions made of a user's own keys: Claude Code takes no keys without one from a command (measured)."""
    return keys if "session_token" in keys else {**keys, "get_session_token": True}


def at(base_url: str) -> str:
    """Write the option of a command that says where requests go."""
    return f" --base-url {shlex.quote(base_url)}"


def options(**texts: str) -> str:
    """Write options of a command, of texts that are plain words, as regions and models are."""
    plain = {name: text for name, text in texts.items() if _WORD.fullmatch(text) and shown(text) == text}
    return "".join(f" --{name.replace('_', '-')} {text}" for name, text in plain.items())


def shown(text: str) -> str:
    """Show a name of the file's; one that may be a secret in the wrong place is not shown."""
    plain = 0 < len(text) <= _SHOWN_MAX and text.isprintable() and not _TOKEN_LIKE.search(text)
    return text if plain else "(odd name)"
