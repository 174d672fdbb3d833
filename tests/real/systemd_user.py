"""A real systemd user manager, in namespaces of a test's own: nothing of this machine's systemd is touched or needed.

It needs root, to make the namespaces; the manager and all that it starts run as an ordinary user.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from tests.real.installed import BROKER
from tests.real.process import DEADLINE_S, wait_until

UID: Final = 1234
SYSTEMD: Final = Path("/lib/systemd/systemd")
RUNTIME_DIR: Final = f"/run/user/{UID}"

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_AS_USER: Final = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--inh-caps=-all")


def missing() -> str | None:
    """Say what this machine lacks for a manager of its own, or None."""
    if os.geteuid() != 0:
        return "a systemd user manager in its own namespaces needs root"
    absent = [program for program in ("unshare", "nsenter", "setpriv", "systemctl") if shutil.which(program) is None]
    if not SYSTEMD.exists():
        absent.append(str(SYSTEMD))
    return f"systemd in namespaces: {', '.join(absent)} missing" if absent else None


@dataclass(frozen=True, slots=True)
class UserManager:
    """A running manager. `home` is the home folder of the user that it serves; `pid` is a process inside."""

    home: Path
    pid: int

    @property
    def enter(self) -> tuple[str, ...]:
        """What to put before a command, so that it runs inside, as the user, with the caller's environment."""
        return ("nsenter", f"--target={self.pid}", "--mount", "--cgroup", "--pid", *_AS_USER)

    @property
    def env(self) -> dict[str, str]:
        """The environment of a login shell in this user's session."""
        return {"HOME": str(self.home), "XDG_RUNTIME_DIR": RUNTIME_DIR, "PATH": "/usr/local/bin:/usr/bin:/bin"}

    @property
    def config(self) -> Path:
        """The broker's config file, where it is by default."""
        return self.home / ".config" / "broker" / "config.toml"

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as the user."""
        return subprocess.run(
            [*self.enter, *command], env=self.env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )

    def systemctl(self, *arguments: str) -> str:
        """Run `systemctl --user`; fail with its complaint when it does."""
        done = self.run("systemctl", "--user", *arguments)
        assert done.returncode == 0, f"systemctl --user {shlex.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    @property
    def units(self) -> Path:
        """The folder of the user's own units."""
        return self.home / ".config" / "systemd" / "user"

    def setup(self, *options: str, broker: Path = BROKER) -> subprocess.CompletedProcess[str]:
        """Run `broker setup systemd` as the user types it, with the installation's own `broker` or another one."""
        return self.run(str(broker), "setup", "systemd", *options)

    def drop_in(self, name: str, text: str, unit: str = "broker.service") -> None:
        """Write a drop-in, as `systemctl --user edit` does, and have it read."""
        file = self.units / f"{unit}.d" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        give(self.home)
        self.systemctl("daemon-reload")

    def main_pid(self) -> str:
        """Name the daemon's process, as seen inside; "0" when there is none."""
        return self.show("MainPID")

    def show(self, name: str, unit: str = "broker.service") -> str:
        """Return one property of the daemon's unit, or of another."""
        return self.systemctl("show", f"--property={name}", "--value", unit)


def give(folder: Path) -> None:
    """Make the user own all of `folder`."""
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, UID, UID, follow_symlinks=False)


def _child_of(process: subprocess.Popen[str]) -> int:
    unshare = psutil.Process(process.pid)
    wait_until(lambda: bool(unshare.children()), "unshare has started the shell")
    return unshare.children()[0].pid


@contextmanager
def user_manager(home: Path) -> Iterator[UserManager]:
    """Run a systemd user manager for the user who owns `home`; everything that it started ends with the block."""
    home.mkdir(mode=0o700)
    give(home)
    with (home.parent / "systemd.log").open("w+") as log:
        outer = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--cgroup",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-euc",
                _script(home),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        )
        try:
            manager = UserManager(home, _child_of(outer))
            wait_until(lambda: manager.run("systemctl", "--user", "show-environment").returncode == 0, "systemd is up")
            yield manager
        finally:
            outer.kill()  # it ignores SIGTERM; the kernel ends all of its namespace with it
            outer.wait()
            _remove_cgroup(home)


def _script(home: Path) -> str:
    """Lay out what systemd expects to find, and run it as the user. The shell stays, as process 1 of the namespace."""
    cgroup = f"/sys/fs/cgroup/{home.parent.name}"
    return f"""
        {_open_up(sys.base_prefix, sys.prefix, str(_CHECKOUT))}
        mount -t tmpfs -o mode=755 none /run
        mkdir -p /run/systemd/system {RUNTIME_DIR}
        chown {UID}:{UID} {RUNTIME_DIR}
        chmod 700 {RUNTIME_DIR}
        mount -t cgroup2 none /sys/fs/cgroup
        mkdir -p {cgroup}/manager
        echo 0 > {cgroup}/manager/cgroup.procs
        chown -R {UID}:{UID} {cgroup}
        env -i HOME={home} XDG_RUNTIME_DIR={RUNTIME_DIR} PATH=/usr/bin:/bin {shlex.join(_AS_USER)} \\
            {SYSTEMD} --user --log-target=console &
        wait
    """


def _open_up(*needed: str) -> str:
    """Let the user reach Python and the checkout, also where a folder above them (/root, mostly) is root's alone."""
    closed = {path: folder for path in needed if (folder := _outermost_closed(Path(path)))}
    kept = {path: f"/mnt/{number}" for number, path in enumerate(closed)}
    lines = ["mount -t tmpfs -o mode=755 none /mnt"]
    lines += [f"mkdir {keep}; mount --bind {shlex.quote(path)} {keep}" for path, keep in kept.items()]
    lines += [f"mount -t tmpfs -o mode=755 none {shlex.quote(str(folder))}" for folder in sorted(set(closed.values()))]
    lines += [f"mkdir -p {shlex.quote(path)}; mount --bind {keep} {shlex.quote(path)}" for path, keep in kept.items()]
    return "\n".join(lines)


def _outermost_closed(path: Path) -> Path | None:
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001), None)


def _remove_cgroup(home: Path) -> None:
    """Cgroups outlive the namespace that made them, and can go once its last process has died."""
    remove = f"mount -t cgroup2 none /mnt; find /mnt/{home.parent.name} -depth -type d -exec rmdir {{}} +"
    command = ["unshare", "--mount", "--cgroup", "sh", "-euc", remove]
    wait_until(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0, "the cgroup is gone")
