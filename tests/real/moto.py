"""moto's server as a process of its own: AWS's services as others have rebuilt them."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import botocore.session

from tests.real.ports import free_port
from tests.real.process import terminate, wait_until

KEY_ID: Final = "AKIAFAKEFAKEFAKEFAKE"
SECRET_KEY: Final = "fake-secret-key-0"
REGION: Final = "us-east-1"

PROGRAM: Final = Path(sys.executable).parent / "moto_server"


@dataclass(frozen=True, slots=True)
class Moto:
    """One account or several, whose names come out of role ARNs."""

    address: str

    def client(self, service: str, keys: dict[str, str] | None = None) -> Any:  # noqa: ANN401  # botocore has no types
        """Make a client of botocore's own, with nothing of this machine's settings."""
        given = keys or {"access_key_id": KEY_ID, "secret_access_key": SECRET_KEY}
        names = {"access_key_id", "secret_access_key", "session_token"}
        signing = {f"aws_{name}": text for name, text in given.items() if name in names}
        return botocore.session.Session().create_client(
            service, region_name=REGION, endpoint_url=self.address, **signing
        )

    def role(self, arn: str) -> dict[str, str]:
        """Assume a role, past the broker."""
        keys = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="owner")["Credentials"]
        return {
            "access_key_id": keys["AccessKeyId"],
            "secret_access_key": keys["SecretAccessKey"],
            "session_token": keys["SessionToken"],
        }

    def whose(self, keys: dict[str, str]) -> str:
        """Say by the server's word whose keys these are."""
        return str(self.client("sts", keys).get_caller_identity()["Arn"])


@contextmanager
def moto_server() -> Iterator[Moto]:
    """Run one until the block ends."""
    port = free_port()
    process = subprocess.Popen(
        [str(PROGRAM), "-H", "127.0.0.1", "-p", str(port)],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        wait_until(lambda: _listens(port), "moto listens")
        yield Moto(f"http://127.0.0.1:{port}")
    finally:
        terminate(process)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False
