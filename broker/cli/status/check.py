"""`broker status --check`: the answer as a monitoring plugin gives it.

Exit codes and the one line are the convention of the Nagios plugin guidelines; which state counts as what is in
the command's help.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from broker.cli.output import printable
from broker.cli.status.view import warnings

OK, WARNING, CRITICAL, UNKNOWN = range(4)
_WORDS: Final = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_LEVELS: Final = {"fresh": OK, "empty": OK, "stale": WARNING, "locked": WARNING}


class Verdict(NamedTuple):
    """The plugin's exit code and its line."""

    code: int
    line: str


def judge(document: Mapping[str, Any]) -> Verdict:
    """Judge a status: the worst credential decides, and the line names what is not well."""
    daemon, credentials = document["daemon"], document["credentials"]
    found = [_judge_one(credential) for credential in credentials]
    if daemon["locked"]:
        found.append(Verdict(WARNING, "the daemon is locked"))
    found += [Verdict(WARNING, warning) for warning in warnings(daemon)]
    worst = max((verdict.code for verdict in found), default=OK)
    if worst == OK:
        return Verdict(OK, f"OK - {_count(credentials)}")
    bad = sorted((verdict for verdict in found if verdict.code), key=lambda verdict: -verdict.code)
    return Verdict(worst, f"{_WORDS[worst]} - {'; '.join(verdict.line for verdict in bad)}")


def unknown(reason: str) -> Verdict:
    """Say that there is nothing to judge."""
    return Verdict(UNKNOWN, f"UNKNOWN - {printable(reason)}")


def _judge_one(credential: Mapping[str, Any]) -> Verdict:
    code = _LEVELS.get(credential["state"], CRITICAL)
    said = warnings(credential)
    words = [f"{credential['name']}: {credential['state']}", *said]
    if credential["last_error"]:
        words.append(str(credential["last_error"]))
    return Verdict(max(code, WARNING if said else OK), printable(", ".join(words)))


def _count(credentials: list[Mapping[str, Any]]) -> str:
    states = Counter(credential["state"] for credential in credentials)
    noun = "credential" if len(credentials) == 1 else "credentials"
    if len(states) == 1:
        return f"{len(credentials)} {noun} {next(iter(states))}"
    return f"{len(credentials)} {noun}" + "".join(f", {count} {state}" for state, count in sorted(states.items()))
