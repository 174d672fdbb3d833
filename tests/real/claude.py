"""Real Claude Code, run as a developer would: one home, one project, one helper, and nothing of our own shell."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from tests.real.process import DEADLINE_S, terminate


class NoAnswer(AssertionError):
    """Claude Code did not answer a prompt in time, or left."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person sees after a prompt: the text, and whether Claude Code calls it an error."""

    text: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Claude:
    """One developer's Claude Code.

    `env` is its whole environment: what a test does not put there is not there. `enter` is put before every
    command, to run it elsewhere (in another namespace, as another user).
    """

    binary: Path
    folder: Path
    env: Mapping[str, str]
    enter: tuple[str, ...] = ()

    @classmethod
    def settle(
        cls, binary: Path, folder: Path, *, settings: Mapping[str, Any], upstream_url: str, env: Mapping[str, str]
    ) -> Self:
        """Make a home with these `settings` in `folder`, and a project beside it."""
        home = folder / "home"
        (home / ".claude").mkdir(parents=True)
        (folder / "project").mkdir()
        (home / ".claude" / "settings.json").write_text(json.dumps(settings))
        known = {"hasCompletedOnboarding": True, "theme": "dark"}
        trusted = {"projects": {str(folder / "project"): {"hasTrustDialogAccepted": True}}}
        (home / ".claude.json").write_text(json.dumps(known | trusted))
        own = {
            "ANTHROPIC_BASE_URL": upstream_url,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "HOME": str(home),
            "IS_SANDBOX": "1",  # it refuses to skip its permission questions as root otherwise
            "PATH": "/usr/local/bin:/usr/bin:/bin",
        }
        return cls(binary, folder, own | dict(env))

    @property
    def project(self) -> Path:
        """The working folder."""
        return self.folder / "project"

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that starts Claude Code with these arguments, and without its questions."""
        return [*self.enter, str(self.binary), *arguments, "--dangerously-skip-permissions"]

    def ask(self, prompt: str, *arguments: str, deadline_s: float = DEADLINE_S) -> Answer:
        """Run `claude -p PROMPT ARGUMENTS` once."""
        done = subprocess.run(
            self.command("-p", prompt, *arguments),
            env=dict(self.env),
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=deadline_s,
            check=False,
        )
        return Answer(done.stdout.strip() or done.stderr.strip(), failed=done.returncode != 0)

    def type(self, program: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run another program as its person would, in the project."""
        return subprocess.run(
            [str(program), *arguments],
            env=dict(self.env),
            cwd=self.project,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Keep one Claude Code process alive over several prompts."""
        streams = ["--input-format", "stream-json", "--output-format", "stream-json"]
        process = subprocess.Popen(
            self.command("-p", *streams, "--verbose"),
            env=dict(self.env),
            cwd=self.project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        session = Session(process)
        try:
            yield session
        finally:
            session.close()


@dataclass(slots=True)
class Session:
    """A live Claude Code process that is spoken to in lines of JSON."""

    process: subprocess.Popen[str]
    _results: queue.SimpleQueue[dict[str, Any] | None] = field(default_factory=queue.SimpleQueue)
    _reader: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, prompt: str, *, deadline_s: float = DEADLINE_S) -> Answer:
        """Say `prompt` and wait for the whole answer; raise `NoAnswer` at the deadline."""
        self.say(prompt)
        return self.answer(deadline_s=deadline_s)

    def say(self, prompt: str) -> None:
        """Say `prompt` without waiting."""
        line = {"type": "user", "message": {"role": "user", "content": prompt}}
        stdin = _open(self.process.stdin)
        stdin.write(json.dumps(line) + "\n")
        stdin.flush()

    def answer(self, *, deadline_s: float = DEADLINE_S) -> Answer:
        """Wait for the answer to what was said last."""
        try:
            result = self._results.get(timeout=deadline_s)
        except queue.Empty:
            raise NoAnswer(f"Claude Code gave no answer within {deadline_s} s") from None
        if result is None:
            raise NoAnswer(f"Claude Code left with exit code {self.process.wait()} instead of answering")
        return Answer(str(result.get("result", "")).strip(), failed=bool(result["is_error"]))

    def close(self) -> None:
        """End the process."""
        _open(self.process.stdin).close()
        terminate(self.process)
        self._reader.join()
        _open(self.process.stdout).close()

    def _read(self) -> None:
        for line in _open(self.process.stdout):
            message = json.loads(line)
            if message["type"] == "result":
                self._results.put(message)
        self._results.put(None)


def _open(stream: IO[str] | None) -> IO[str]:
    assert stream is not None, "Popen was asked for this pipe"
    return stream
