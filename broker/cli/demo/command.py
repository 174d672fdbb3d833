"""`broker demo`: the tour, on a real daemon and the real helper. Each step checks what it claims."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import click
from rich.live import Live
from rich.text import Text

from broker.cli.arguments import examples
from broker.cli.demo.stage import Stage, set_up, wait_until
from broker.cli.output import span
from broker.cli.status.view import bar
from broker.cli.terminal import stdout
from broker.errors import BrokerError

WARM_RUNS: Final = 30
CROWD: Final = 20
FLAKY: Final = 8
"""So many sources that fail every second time: that none of them shows a failure is a matter of 1 in 10 million."""
TRIES: Final = 6
UPSTREAM_REFUSES: Final = 401

CONFIG: Final = """\
default = "demo"

[daemon]
persist = "off"                 # nothing is left behind, in no keyring either

[credentials.demo]              # lives 6 s, and its source takes 0.3 s
source = "demo"
lifetime = "6s"
delay = "300ms"
min_validity = "1s"

[credentials.crowd]
source = "demo"
lifetime = "1h"
delay = "500ms"
""" + "".join(
    f"""
[credentials.flaky-{number}]
source = "demo"
lifetime = "1h"
failure_rate = 0.5
refresh_interval_min = "1ms"
"""
    for number in range(1, FLAKY + 1)
)


class DemoFailed(BrokerError):
    """A step did not hold: a bug, or a machine that is very slow."""


@click.command("demo", epilog=examples("broker demo"))
def demo_command() -> None:
    """See it work, on made-up credentials.

    A real daemon and the real helper, no network, no account; everything happens in a temporary folder, which is gone at the end. Tokens are named
    by their fingerprints.
    """
    began = time.monotonic()
    with set_up(CONFIG) as stage:
        _say(f"A daemon of its own serves in {stage.folder} ({_ms(stage.ready_s)} after its start).")
        for number, step in enumerate(STEPS, 1):
            _step(number, step, stage)
    _say("")
    _say(f"All {len(STEPS)} held, in {time.monotonic() - began:.1f} s. Nothing is left behind.")
    _say("Next: broker secret set anthropic, then: broker setup claude-code")


def issue(stage: Stage) -> str:
    """Issue: the first ask waits for the source, once."""
    first = stage.ask("demo")
    _hold(_status(stage, "demo")["refreshes"] == 1, "one fetch was expected for one ask")
    return f"first answer after {_ms(first.took_s)} (the source takes 300 ms), token {_fingerprint(stage, 'demo')}"


def warm(stage: Stage) -> str:
    """Warm: from then on the answer comes from memory."""
    before = _status(stage, "demo")
    took = [stage.ask("demo").took_s for _ in range(WARM_RUNS)]
    after = _status(stage, "demo")
    _hold(after["served"] == before["served"] + WARM_RUNS, "every ask should have been served")
    _hold(after["refreshes"] == before["refreshes"], "no ask should have needed the source")
    return f"{_ms(statistics.median(took))} (median of {WARM_RUNS} runs of the helper, process start included)"


def ahead(stage: Stage) -> str:
    """Ahead of time: the token is replaced before it is short, with nobody asking."""
    before = _status(stage, "demo")
    with Live(console=stdout(), transient=True, auto_refresh=False) as live:
        refreshed = wait_until(lambda: _count_down(stage, before, live), before["lifetime_s"])
    _hold(refreshed, "no refresh came by itself")
    after = _status(stage, "demo")
    _hold(after["served"] == before["served"], "nobody should have asked meanwhile")
    _hold(after["fingerprint"] != before["fingerprint"], "a new token was expected")
    answer = stage.ask("demo")
    return (
        f"{before['fingerprint']} became {after['fingerprint']} unasked; "
        f"the next ask took {_ms(answer.took_s)}, not 300 ms"
    )


def crowd(stage: Stage) -> str:
    """Single flight: twenty helpers at once on a cold credential make one fetch."""
    answers = stage.crowd("crowd", CROWD)
    _hold(all(answer.secret == answers[0].secret for answer in answers), "all should have got the same token")
    _hold(_status(stage, "crowd")["refreshes"] == 1, "one fetch was expected")
    last_s = max(answer.took_s for answer in answers)
    return f"{CROWD} answers, 1 fetch, the last after {_ms(last_s)} (the source takes 500 ms)"


def rejection(stage: Stage) -> str:
    """Rejection: a token that upstream refuses is replaced at once."""
    refused = stage.client.token("crowd")
    stage.client.rejected("crowd", refused.fingerprint, UPSTREAM_REFUSES)
    answer = stage.ask("crowd")
    _hold(answer.secret != refused.secret, "the refused token was served again")
    _hold(_status(stage, "crowd")["rejections"] == 1, "the rejection should have been counted")
    return (
        f"{refused.fingerprint} refused with 401, {_fingerprint(stage, 'crowd')} served by the next ask, "
        f"{_ms(answer.took_s)} later"
    )


def failing(stage: Stage) -> str:
    """Failing source: as long as a token is valid, nobody notices."""
    for number in range(1, FLAKY + 1):
        for _ in range(TRIES):
            status = stage.client.refresh(f"flaky-{number}")
            if status["fingerprint"] and status["last_error"]:
                return _served_all_the_same(stage, status)
    raise DemoFailed(f"{FLAKY} sources that fail every second time did not fail; run it again")


def _served_all_the_same(stage: Stage, status: dict[str, Any]) -> str:
    answer = stage.ask(status["name"])
    held = stage.client.token(status["name"])
    _hold(held.fingerprint == status["fingerprint"], "the token in hand should have been served")
    _hold(answer.secret == held.secret, "the helper should have got the token in hand")
    return (
        f'the source says "{status["last_error"]}"; state {status["state"]}, '
        f"{held.fingerprint} served in {_ms(answer.took_s)}"
    )


STEPS: Final[tuple[Callable[[Stage], str], ...]] = (issue, warm, ahead, crowd, rejection, failing)


def _step(number: int, step: Callable[[Stage], str], stage: Stage) -> None:
    title, _, claim = (step.__doc__ or "").strip().partition(": ")
    _say("")
    _say((f"{number}  {title}", "bold"), f": {claim}")
    try:
        result = step(stage)
    except BrokerError as error:
        raise DemoFailed(f"demo, step {number} ({title.lower()}): {error}") from error
    _say(("   ok " if stdout().options.ascii_only else "   ✓ ", "green"), result)


def _count_down(stage: Stage, before: dict[str, Any], live: Live) -> bool:
    """Whether the refresh has happened; on a terminal, show the life that runs out meanwhile."""
    now = _status(stage, "demo")
    left_s = now["expires_in_s"] or 0
    if not live.console.options.ascii_only:
        live.update(
            Text.assemble("   ", (f"▕{bar(left_s / now['lifetime_s'])}▏", "green"), f" {span(left_s)}"), refresh=True
        )
    return bool(now["refreshes"] > before["refreshes"])


def _status(stage: Stage, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in stage.client.status()["credentials"] if item["name"] == name)
    return found


def _fingerprint(stage: Stage, name: str) -> str:
    return str(_status(stage, name)["fingerprint"])


def _hold(held: bool, expected: str) -> None:  # noqa: FBT001  # reads as a sentence
    if not held:
        raise DemoFailed(expected)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"  # noqa: PLR2004  # three digits do


def _say(*parts: str | tuple[str, str]) -> None:
    stdout().print(Text.assemble(*parts), soft_wrap=True)
