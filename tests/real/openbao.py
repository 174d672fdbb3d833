"""A real OpenBao server in its development mode, from the Python package that carries the binary."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.real.installed import BIN
from tests.real.ports import free_port
from tests.real.process import DEADLINE_S, terminate, wait_until

BAO: Final = BIN / "bao"
ROOT_TOKEN: Final = "fake-root-token"


@dataclass(slots=True)
class OpenBao:
    """The running server; `env` makes the `bao` command its administrator."""

    env: dict[str, str]
    process: subprocess.Popen[str]
    output: Path

    @property
    def unseal_key(self) -> str:
        """What opens it again after `seal`."""
        found = re.search(r"Unseal Key: (\S+)", self.output.read_text())
        assert found is not None
        return found[1]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the `bao` command."""
        return subprocess.run(
            [str(BAO), *arguments], env=self.env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )

    def put(self, path: str, **fields: str) -> None:
        """Write a key-value secret."""
        done = self.run("kv", "put", path, *(f"{name}={value}" for name, value in fields.items()))
        assert done.returncode == 0, done.stderr

    def stop(self) -> None:
        """Take the server down."""
        terminate(self.process)


@contextmanager
def openbao(home: Path, *, port: int | None = None, config: Path | None = None) -> Iterator[OpenBao]:
    """Run it on a port of the loopback (any free one) until the block ends; all that it keeps is in memory.

    `config` adds to its own.
    """
    address = f"127.0.0.1:{port or free_port()}"
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "BAO_ADDR": f"http://{address}", "BAO_TOKEN": ROOT_TOKEN}
    options = [f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address={address}", "-dev-no-store-token"]
    if config is not None:
        options.append(f"-config={config}")
    output = home / "bao.out"
    with output.open("w") as file:
        process = subprocess.Popen(
            [str(BAO), "server", "-dev", *options],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    server = OpenBao(env, process, output)
    try:
        wait_until(lambda: server.run("status").returncode == 0, "OpenBao is unsealed")
        yield server
    finally:
        server.stop()


@contextmanager
def attendant(kind: str, config: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `bao agent` or `bao proxy` with this config, in its folder, until the block ends."""
    process = subprocess.Popen(
        [str(BAO), kind, f"-config={config}"],
        env={"HOME": str(config.parent), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        terminate(process)
