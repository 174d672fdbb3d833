"""A person's whole set-up in which everything is well: the tests plant one fault each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker import __version__
from broker.doctor import Finding, Report, examine
from broker.doctor.areas import clock
from broker.doctor.registry import ALL, Check
from broker.doctor.scene import Scene
from broker.integrations import claude_settings
from tests.fakes.control import Script, credential_status, serving

CONFIG = '[credentials.work]\nsource = "demo"\nlifetime = "1h"\n'


@dataclass
class Patient:
    """A home with config, state folder, running daemon, helper, and Claude Code set up; all of it may be spoilt."""

    folder: Path
    env: dict[str, str]
    patch: pytest.MonkeyPatch
    script: Script = field(default_factory=Script)
    running: ExitStack = field(default_factory=ExitStack)
    others: ExitStack = field(default_factory=ExitStack)
    clock: list[float] = field(default_factory=list)
    checks: Mapping[str, Check] = field(default_factory=lambda: ALL)

    @property
    def config(self) -> Path:
        """The config file."""
        return self.folder / ".config" / "broker" / "config.toml"

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / ".local" / "state" / "broker"

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.folder / "run" / "broker" / "broker.sock"

    @property
    def helper(self) -> Path:
        """The installed helper."""
        return self.folder / "bin" / "broker-helper"

    @property
    def project(self) -> Path:
        """The folder in which the doctor is asked."""
        return self.folder / "project"

    @property
    def user_settings(self) -> Path:
        """The user's settings of Claude Code."""
        return self.folder / ".claude" / "settings.json"

    def configure(self, text: str) -> None:
        """Write the config."""
        self.config.write_text(text)
        self.config.chmod(0o600)

    def settings(self, *, env: dict[str, str] | None = None, **changes: object) -> None:
        """Write the user's settings: with our helper, unless changed."""
        tree: dict[str, Any] = {"apiKeyHelper": str(self.helper), "env": env or {}} | changes
        self.user_settings.write_text(json.dumps(tree))

    def project_settings(self, tree: object, name: str = "settings.json") -> None:
        """Write the project's settings."""
        (self.project / ".claude").mkdir(exist_ok=True)
        (self.project / ".claude" / name).write_text(json.dumps(tree))

    def program(self, name: str, text: str) -> Path:
        """Put a program into the only folder of PATH."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def stop(self) -> None:
        """End the daemon."""
        self.running.close()

    def examine(self) -> Report:
        """Ask the doctor."""
        return examine(self.env, str(self.project), checks=self.checks, make=self._scene)

    def _scene(self, env: Mapping[str, str], folder: str) -> Scene:
        scene = Scene(env, folder, self.helper)
        scene.now = self.clock[0] if self.clock else scene.now
        return scene

    def runs(self, *argv: str, executable: str) -> subprocess.Popen[bytes]:
        """Run a process under any command line until the test ends."""
        process = subprocess.Popen(argv, executable=executable, stdin=subprocess.PIPE)
        self.others.enter_context(process)
        self.others.callback(process.kill)
        return process

    def found(self, code: str) -> Finding:
        """Ask the doctor, and return the first finding of this code."""
        report = self.examine()
        found = [finding for _, finding in report.findings if finding.code == code]
        assert found, f"{code} is not among {[finding.code for _, finding in report.findings]}"
        return found[0]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    """Give a healthy place of its own, with a path short enough for a socket."""
    made = Patient(Path(tempfile.mkdtemp(prefix="doc-")), {}, monkeypatch)
    for name in os.environ:
        if name.startswith(("BROKER_", "ANTHROPIC_", "CLAUDE", "XDG_", "DBUS_")):
            monkeypatch.delenv(name)
    for folder in (made.config.parent, made.user_settings.parent, made.project, made.helper.parent):
        folder.mkdir(parents=True)
    made.state.mkdir(parents=True, mode=0o700)
    made.env |= {
        "HOME": str(made.folder),
        "PATH": str(made.folder / "bin"),
        "XDG_RUNTIME_DIR": str(made.folder / "run"),
    }
    for name, value in made.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(claude_settings, "_MANAGED", str(made.folder / "managed"))
    monkeypatch.setattr(clock, "_TIMEDATECTL", (str(made.folder / "bin" / "timedatectl"),))
    made.program(
        "broker-helper", f'[ "$1" = --version ] && echo "broker-helper {__version__} (sh)" >&2 && exit 0\nexit 78'
    )
    made.configure(CONFIG)
    made.settings()
    made.script.credentials = [credential_status("work", source="demo", expires_at=None)]
    made.script.daemon |= {"version": __version__, "persist": "keyring"}
    made.script.raw["/v1/audit/verify"] = b'{"lines": 3, "proven": 3, "findings": [], "limits": []}'
    made.running.enter_context(serving(made.socket, made.script))
    yield made
    made.running.close()
    made.others.close()
    shutil.rmtree(made.folder)
