"""Runs every area's check side by side, for at most ten seconds: what hangs or fails becomes a finding itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final

from broker.doctor.finding import Finding, Report, error, warning
from broker.doctor.registry import ALL, Check
from broker.doctor.scene import Scene
from broker.errors import ConfigError
from broker.storage import threads

WITHIN_S: Final = 9.5

MakeScene = Callable[[Mapping[str, str], str], Scene]


def examine(
    env: Mapping[str, str],
    folder: str,
    *,
    checks: Mapping[str, Check] = ALL,
    within_s: float = WITHIN_S,
    make: MakeScene = Scene,
) -> Report:
    """Look at everything, as seen by a Claude Code that would be started in `folder` with these variables.

    Changes nothing, raises nothing, and prints nothing.
    """
    began = time.monotonic()
    try:
        scene = make(env, folder)
    except ConfigError as problem:
        return Report([("places", found) for found in _nowhere(problem.problems)], time.monotonic() - began)
    except OSError as problem:  # a relative path, and the folder that it starts from is gone
        gone = f"the present folder cannot be used ({problem.strerror})"
        return Report([("places", found) for found in _nowhere([gone])], time.monotonic() - began)
    # Threads that nobody waits for at the end: a file system or keyring that hangs must not keep us.
    started = [(area, threads.begin(partial(check, scene))) for area, check in checks.items()]
    findings = [
        (area, found) for area, future in started for found in _outcome(area, future, began + within_s, within_s)
    ]
    return Report(findings, time.monotonic() - began)


def _outcome(area: str, future: Future[list[Finding]], deadline: float, within_s: float) -> Iterable[Finding]:
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        return [
            warning(
                "check-hangs",
                f"{area}: not known after {within_s:g}s",
                "something that is looked at there does not answer: a file system, a keyring or a program",
                "see that it answers, then run this again: broker doctor",
            )
        ]
    except Exception as bug:  # noqa: BLE001  # whatever it is, the other areas' findings are wanted all the more
        # By type only: what its message holds is not known.
        return [
            warning(
                "check-failed",
                f"{area}: the check itself failed ({type(bug).__name__})",
                "nothing is known about this area",
                "please report it; until then see: broker status",
            )
        ]


def _nowhere(problems: Sequence[str]) -> Iterable[Finding]:
    for problem in problems:
        yield error(
            "place-unusable",
            problem,
            "command line, helper and daemon cannot find each other",
            "name absolute paths in BROKER_CONFIG, BROKER_STATE_DIR and BROKER_SOCKET, or unset them",
        )
