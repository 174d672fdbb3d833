"""A `command` source's program that tells how it was run: everything it could see of the daemon. Run with -I -S."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path


def link(descriptor: Path) -> str | None:
    """Tell where a descriptor leads; None: it was only open for listing them."""
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return None


def main(target: Path) -> None:
    """Write the facts, and print a token."""
    links = {descriptor.name: link(descriptor) for descriptor in Path("/proc/self/fd").iterdir()}
    facts = {
        "env": dict(os.environ),
        "descriptors": {number: where for number, where in links.items() if where},
        "folder": str(Path.cwd()),
        "is_session_leader": os.getsid(0) == os.getpid(),
        "core_limit": resource.getrlimit(resource.RLIMIT_CORE),
        "umask": os.umask(0),
    }
    target.write_text(json.dumps(facts))
    print("fake-token-1")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
