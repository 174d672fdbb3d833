"""A real PostgreSQL server for the time of a block; as root it runs as another user, for it refuses to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.real.ports import free_port
from tests.real.process import terminate, wait_until

ADMIN: Final = "fakeadmin"
PASSWORD: Final = "fake-admin-password"
_DEBIAN: Final = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Postgres:
    """The running server."""

    programs: Path
    port: int

    def connects(self, user: str, password: str) -> bool:
        """Whether somebody can sign in."""
        env = {"PGPASSWORD": password, "PATH": os.environ["PATH"]}
        return self._psql(user, env).returncode == 0

    def _psql(self, user: str, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", user, "-d", "postgres"]
        command = [str(self.programs / "psql"), "-w", *where, "-c", "select 1"]
        return subprocess.run(command, env=env, capture_output=True, check=False, timeout=30)


def programs() -> Path | None:
    """Find the newest version's programs; None where there is none."""
    found = sorted(_DEBIAN.glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextmanager
def postgres(at: Path) -> Iterator[Postgres]:
    """Run one, by the programs in `at`, until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    server = Postgres(at, free_port())
    user = _other_user()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    become = [] if user is None else ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    try:
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        initdb = ["initdb", "-D", f"{folder}/data", "-U", ADMIN, f"--pwfile={password}", "--auth=scram-sha-256", "-N"]
        subprocess.run([*become, f"{at}/{initdb[0]}", *initdb[1:]], cwd="/", capture_output=True, check=True)
        options = ["-p", str(server.port), "-h", "127.0.0.1", "-k", str(folder), "-F"]
        process = subprocess.Popen(
            [*become, f"{at}/postgres", "-D", f"{folder}/data", *options],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            wait_until(lambda: server.connects(ADMIN, PASSWORD), "PostgreSQL takes connections")
            yield server
        finally:
            terminate(process)
    finally:
        shutil.rmtree(folder)


def _other_user() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None
