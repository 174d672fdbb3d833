"""The project's one test command: `python3 -m tests [--unit] [-- PYTEST-ARGUMENTS]`, from a fresh checkout.

Sets up what is missing (a virtual environment in .venv-test, Debian packages, Claude Code from npm), then checks
format, lint, types, import contracts, tests and coverage. Needs Python 3.11 or later and nothing else.

  --unit   only the fast tests: no set-up beyond the virtual environment, under a minute
  -- ...   handed to pytest; coverage is not judged then, since it would be a part's

With CI=true nothing is skipped: what is missing is a failure.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, Final

from tests import setup_claude_code, setup_debian, setup_npm, setup_python, setup_tools
from tests.setup_debian import MissingPart
from tests.setup_python import BIN, ROOT

CHECKS: Final = {
    "format": ("ruff", "format", "--check"),
    "lint": ("ruff", "check"),
    "types": ("mypy",),
    "imports": ("lint-imports",),
}
LIMITS: Final = {
    "coverage of the engine": ("--include=broker/engine/*", "--fail-under=100"),
    "coverage": ("--omit=broker/platform/macos.py", "--fail-under=90"),
}
FAST: Final = ("-m", "not (slow or real or alone)", "--numprocesses", str((os.cpu_count() or 1) + 1))
"""They share nothing, so that every core may take some; one more, since some of them wait."""
REST: Final = ("-m", "(slow or real) and not alone", "--numprocesses", "auto", "--dist", "loadfile")
"""Mostly they wait for other programs; those of one file share servers."""
ALONE: Final = ("-m", "alone")
"""They judge the clock: nothing else runs beside them."""
PARTS: Final = {"fast tests": FAST, "slow and real tests": REST, "tests that judge the clock": ALONE}

_SUMMARY: Final = re.compile(r"(passed|failed|error|skipped|no tests ran).* in [\d.]+s")
_COUNT: Final = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)")


class StageFailed(Exception):
    """A stage found something wrong; the message says how to repeat it."""


def main(arguments: Sequence[str]) -> int:
    """Run the stages and return the exit code."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    own, for_pytest = set(arguments[:at]), arguments[at + 1 :]
    if unknown := own - {"--unit"}:
        print(__doc__)
        return 0 if unknown <= {"-h", "--help"} else os.EX_USAGE
    os.chdir(ROOT)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of a thousand programs compiles the whole project anew
    run = Run()
    if "--unit" in own:
        run.unit(for_pytest)
    else:
        run.everything(for_pytest)
    print("\n".join([*(f"FAILED {failure}" for failure in run.failures), run.summary]))
    return 1 if run.failures else 0


@dataclass(slots=True)
class Run:
    """One run of the command: what failed so far, and what pytest counted."""

    failures: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    start: float = field(default_factory=time.monotonic)

    @property
    def summary(self) -> str:
        """Sum up in pytest's own words."""
        counted = ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items())
        return f"{counted or 'no tests ran'} in {time.monotonic() - self.start:.2f}s"

    def unit(self, for_pytest: Sequence[str]) -> None:
        """Run the fast tests."""
        if self.stage("set up Python", lambda: setup_python.prepare(native_helper=False)):
            self.stage("tests", lambda: self.pytest("-m", "pytest", *FAST, *for_pytest))

    def everything(self, for_pytest: Sequence[str]) -> None:
        """Run all that CI runs; a failing stage does not hide what the later ones have to say."""
        self.stage("set up Debian packages", lambda: optional(setup_debian.prepare))
        self.stage("set up Claude Code", lambda: optional(setup_claude_code.prepare))
        self.stage("set up clients from npm", lambda: optional(setup_npm.prepare))
        self.stage("set up Python programs", lambda: optional(setup_tools.prepare))
        if not self.stage("set up Python", lambda: setup_python.prepare(native_helper=True)):
            return
        for name, command in CHECKS.items():
            self.stage(name, lambda: _check(*command))  # noqa: B023  # called before the next round
        if for_pytest:
            self.stage("tests", lambda: self.pytest("-m", "pytest", *for_pytest))
        else:
            self.all_tests()

    def all_tests(self) -> None:
        """Run every test, and judge how much of the code they went through."""
        _check("coverage", "erase")
        for name, part in PARTS.items():
            self.stage(name, lambda: self.pytest("-m", "coverage", "run", "-m", "pytest", *part))  # noqa: B023  # called before the next round
        self.stage("coverage data", lambda: _check("coverage", "combine"))
        for name, limit in LIMITS.items():
            self.stage(name, lambda: _check("coverage", "report", *limit))  # noqa: B023  # called before the next round

    def stage(self, name: str, step: Callable[[], None]) -> bool:
        """Run one step, and say in one line how it went and how long it took."""
        start = time.monotonic()
        failure = None
        try:
            step()
        except (StageFailed, MissingPart, subprocess.CalledProcessError) as error:
            failure = f"{name}: {error}"
            self.failures.append(failure)
        print(f"{'FAILED' if failure else 'ok':7}{name}, {time.monotonic() - start:.1f} s", flush=True)
        return failure is None

    def pytest(self, *arguments: str) -> None:
        """Run pytest, pass on what it says as it says it, and keep what it counted."""
        colour = ["--color=yes"] if sys.stdout.isatty() else []
        command = [str(BIN / "python"), *arguments, *colour]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            self.counts += _counted(_pass_on(process.stdout))
        if process.returncode:
            raise StageFailed(f"repeat with: {_shown(['python', *arguments])}")


def _pass_on(output: IO[bytes] | None) -> str:
    """Show what pytest says, dot by dot; return its summary line."""
    assert output is not None
    end = b""
    while piece := os.read(output.fileno(), 65_536):
        os.write(sys.stdout.fileno(), piece)
        end = (end + piece)[-4096:]
    return next((line for line in reversed(end.decode(errors="replace").splitlines()) if _SUMMARY.search(line)), "")


def _counted(summary: str) -> Counter[str]:
    """Read how many tests passed, failed and so on."""
    return Counter({outcome: int(count) for count, outcome in _COUNT.findall(summary)})


def _check(*command: str) -> None:
    """Run a tool of the environment; what it says is shown only when it fails."""
    tool = [str(BIN / command[0]), *command[1:]]
    done = subprocess.run(tool, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr)
        raise StageFailed(f"repeat with: {_shown(command)}")


def _shown(command: Sequence[str]) -> str:
    return f"{BIN.relative_to(ROOT)}/{shlex.join(command)}"


def optional(prepare: Callable[[], None]) -> None:
    """Let what takes a person to install cost only the tests that need it, except in CI."""
    try:
        prepare()
    except MissingPart as missing:
        if os.environ.get("CI") == "true":
            raise
        print(f"{missing}; until then these tests are skipped")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
