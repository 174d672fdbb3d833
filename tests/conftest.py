"""What every test shares: what to do about a program that this machine does not have."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no finding; and the same code gets the same inputs in every run, as hypothesis has it in CI. Other
# inputs: `--hypothesis-profile default`.
settings.register_profile(
    "steady", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and with it every program that a test starts and ends by that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def need() -> Callable[[bool, str], None]:
    """Give `need(condition, what)`: without the condition skip the test, saying `what` is missing; fail it in CI."""

    def need_(condition: bool, what: str) -> None:  # noqa: FBT001  # reads as a sentence: need(x, "x is missing")
        if condition:
            return
        message = f"{what}; `python3 -m tests` installs it, or says how"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)  # a person's machine may lack it; in CI it failed above

    return need_


@pytest.fixture(scope="session")
def need_program(need: Callable[[bool, str], None]) -> Callable[[str], str]:
    """Give `need_program(name)`: its full path, or the same consequence as `need`."""

    def need_program_(name: str) -> str:
        found = shutil.which(name)
        need(found is not None, f"the program {name} is missing")
        return str(found)

    return need_program_
