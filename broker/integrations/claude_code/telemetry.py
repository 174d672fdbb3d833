"""Claude Code's traffic beside the requests: it carries the helper's key to Anthropic, whatever the base URL.

Measured: 2.1.197 asks https://api.anthropic.com whether metrics are enabled, and logs events there, with that key.
Both versions take the switch for on where it is not empty (read in the package's text, and tried).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from broker.audience import covers, default
from broker.integrations.claude_code import document
from broker.integrations.claude_code.document import Keys
from broker.integrations.claude_code.settings import BASE_URL
from broker.model import Kind

SWITCH: Final[Keys] = ("env", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC")
ON: Final = "1"

REASON: Final = "else Claude Code (2.1.197) sends the key to https://api.anthropic.com too, with its telemetry"

_ALSO_ON: Final = frozenset({ON, "true"})


def takes_key_elsewhere(base_url: str | None, switch: str | None) -> bool:
    """Say whether a Claude Code with this ANTHROPIC_BASE_URL may send a company's key to Anthropic; pure.

    `switch` is the value of CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC. None: the variable is not set. A value such as
    `0`, which the measured versions take for on and a person for off, is no protection to rely on.
    """
    return bool(base_url) and not covers(default(Kind.API_KEY), base_url or "") and not _is_on(switch)


def is_wanted(settings: str | None, base_url: str | None, env: Mapping[str, str]) -> bool:
    """Whether these settings need the switch and say nothing of it.

    `base_url`: what they are about to be given; None: what they, or `env`, have.
    """
    url, there, _ = _read(settings, env)
    return not there and takes_key_elsewhere(base_url or url, None)


def is_off(settings: str, env: Mapping[str, str]) -> bool:
    """Whether a person has set the switch in these settings, which need it, to something that is not on."""
    url, there, value = _read(settings, env)
    return there and takes_key_elsewhere(url, str(value))


def _read(settings: str | None, env: Mapping[str, str]) -> tuple[str | None, bool, object]:
    """Return the base URL, whether the switch is there, and its value."""
    try:
        now = document.load(settings or "")
    except document.NotEditable:  # who writes the file says so
        return None, False, None
    _, url = document.lookup(now, BASE_URL)
    return (url if isinstance(url, str) else env.get(BASE_URL[-1])), *document.lookup(now, SWITCH)


def _is_on(switch: str | None) -> bool:
    return switch is not None and switch.lower() in _ALSO_ON
