"""Which folders answer at once is told from the system's table of mounts, without touching any of them."""

from __future__ import annotations

import select
from pathlib import Path

import pytest

from broker.platform.mounts import Mounts

TABLE = """\
22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:21 / /proc rw - proc proc rw
24 22 0:22 / /home/u/remote rw - fuse.sshfs u@h: rw
25 22 0:23 / /home/u/a\\040b rw master:2 - nfs4 server:/x rw
26 22 0:24 / /home/u/late rw - fuse.sshfs u@h: rw
27 26 0:25 / /home/u/late rw - xfs /dev/b rw
28 22 0:26 / /net rw - autofs auto rw
broken
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Mounts:
    """Give a table of every kind. A plain file says at once that it changed: only the system's own does not."""
    (tmp_path / "mountinfo").write_text(TABLE)
    return Mounts(str(tmp_path / "mountinfo"))


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("/", True),
        ("/home/u/project", True),
        ("/home/u/remote", False),
        ("/home/u/remote/deep/down", False),
        ("/home/u/remoteness", True),
        ("/home/u/a b/x", False),
        ("/home/u/late/x", True),
        ("/net/host/x", False),
        ("/proc/1", False),
        ("", False),
    ],
)
def test_the_nearest_mount_above_decides(mounts: Mounts, path: str, local: bool) -> None:  # noqa: FBT001  # a table
    """The last one at a place covers those before it; escapes are undone."""
    assert mounts.is_local(path) is local
    mounts.close()


def test_without_a_table_nothing_is_local(tmp_path: Path) -> None:
    """On macOS, say: everything is looked at in a thread."""
    mounts = Mounts(str(tmp_path / "none"))
    assert not mounts.is_local("/")
    assert mounts.refresh() == mounts.refresh()
    mounts.close()


def test_the_number_changes_when_something_was_mounted(tmp_path: Path) -> None:
    """What was learnt before does not count then: a dead server's files may cover a folder now."""

    class Poll:
        def __init__(self) -> None:
            self.answers: list[list[tuple[int, int]]] = [[], [(3, select.POLLPRI)], []]

        def poll(self, _timeout: int) -> list[tuple[int, int]]:
            return self.answers.pop(0)

    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    mounts = Mounts(str(table))
    mounts._poll = Poll()  # type: ignore[assignment]  # the system's own cannot be made to change by a test
    before = mounts.refresh()
    assert mounts.is_local("/home/u/project")
    table.write_text(TABLE + "30 22 0:30 / /home/u/project rw - fuse x rw\n")
    assert mounts.refresh() != before
    assert not mounts.is_local("/home/u/project")
    assert mounts.refresh() == before + 1
    mounts.close()


def test_this_systems_table_is_understood() -> None:
    """And does not change by being read."""
    mounts = Mounts()
    assert not mounts.is_local("/proc/self")
    assert mounts.refresh() == mounts.refresh()
    mounts.close()
