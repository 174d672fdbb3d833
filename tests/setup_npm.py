"""Other people's clients and servers from npm, for the tests: where they are kept, how they get there. Standard library only."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.setup_debian import MissingPart

PACKAGES: Final = {
    "@aws-sdk/credential-providers": "3.1169.0",
    "google-auth-library": "10.9.1",
    "oidc-provider": "9.13.3",
}
"""The AWS SDK's and Google's own clients, and an OpenID provider with device flow and rotating refresh tokens."""

FOLDER: Final = Path(__file__).resolve().parent.parent / ".cache" / "npm"
"""Scripts run with this as their working folder find the packages (`prepare` puts them there)."""

_STAMP: Final = FOLDER / "installed.json"


def prepare() -> None:
    """Fetch what is not there yet, some 30 MB.

    Raises `MissingPart` without npm and `subprocess.CalledProcessError` when npm fails.
    """
    if _STAMP.exists() and json.loads(_STAMP.read_text()) == PACKAGES:
        return
    if shutil.which("npm") is None:
        raise MissingPart(
            "the tests on other people's clients need npm; on Debian, as root: apt-get install nodejs npm"
        )
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    subprocess.run(["npm", "install", *quiet, "--prefix", str(FOLDER), *wanted], check=True)
    _STAMP.write_text(json.dumps(PACKAGES))
