"""Which programs the `command` source runs, and which it refuses to."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import nullcontext
from pathlib import Path

import pytest

from broker.sources import program
from broker.sources.program import resolve
from tests.contracts.strangers import give_away


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """Give an executable in a folder of its own."""
    folder = tmp_path / "bin"
    folder.mkdir(mode=0o755)
    tool = folder / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    return tool


def test_a_name_is_looked_up_on_path(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell does; relative entries of PATH are left out, as they mean another folder each time."""
    monkeypatch.chdir(tool.parent)
    monkeypatch.setenv("PATH", f".:{tool.parent}:/usr/bin")
    assert resolve("tool") == str(tool)
    monkeypatch.setenv("PATH", ".:")
    with pytest.raises(ValueError, match="PATH"):
        resolve("tool")


def test_a_path_is_absolute_or_from_home(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both give the absolute path; a relative one is refused."""
    monkeypatch.setenv("HOME", str(tool.parent))
    assert resolve("~/tool") == resolve(str(tool)) == str(tool)
    for relative in ("./tool", "bin/tool"):
        with pytest.raises(ValueError, match="relative"):
            resolve(relative)


def test_dots_in_a_path_are_walked_as_the_kernel_does(tool: Path) -> None:
    """`link/..` is the parent of the link's target, not the link's own."""
    assert resolve(f"{tool.parent}/../bin/tool").endswith("tool")


@pytest.mark.parametrize("word", ["", "a\0b", "/no/such/program"])
def test_what_is_no_program_is_refused(word: str) -> None:
    """With one line, never a traceback."""
    with pytest.raises(ValueError, match="program"):
        resolve(word)


def test_a_file_that_cannot_run_is_refused(tool: Path) -> None:
    """Neither a folder nor a file without its executable bit."""
    tool.chmod(0o644)
    for path in (tool, tool.parent):
        with pytest.raises(ValueError, match="no executable file"):
            resolve(str(path))


@pytest.mark.parametrize("mode", [0o757, 0o777])
def test_a_program_that_everybody_can_write_is_refused(tool: Path, mode: int) -> None:
    """It would run as this user whatever others put into it; the file and each folder on the way count."""
    tool.chmod(mode)
    with pytest.raises(ValueError, match=f"chmod o-w {tool}"):
        resolve(str(tool))
    tool.chmod(0o755)
    tool.parent.chmod(mode)
    with pytest.raises(ValueError, match=f"chmod o-w {tool.parent}"):
        resolve(str(tool))
    tool.parent.chmod(0o1777)
    assert resolve(str(tool)) == str(tool), "in a sticky folder others cannot replace it"


def test_every_link_on_the_way_is_walked(tool: Path, tmp_path: Path) -> None:
    """A safe link into a folder that everybody can write is as bad as that folder."""
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    (open_folder / "hop").symlink_to(tool)
    safe = tmp_path / "safe"
    safe.symlink_to(open_folder / "hop")
    with pytest.raises(ValueError, match=f"chmod o-w {open_folder}"):
        resolve(str(safe))
    open_folder.chmod(0o755)
    assert resolve(str(safe)) == str(safe), "a program may look at the name it is called by, so the link stays"
    (tmp_path / "up").symlink_to("../" + tmp_path.name + "/bin/tool")
    assert resolve(str(tmp_path / "up"))


def test_links_in_a_ring_end(tmp_path: Path) -> None:
    """They are an error, not a loop."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ValueError, match="too many links"):
        resolve(str(tmp_path / "a"))


def test_a_program_of_somebody_else_is_refused(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner can write it at any time."""
    stranger = give_away(tool, monkeypatch)
    with pytest.raises(ValueError, match=f"belongs to uid {stranger}"):
        resolve(str(tool))


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        pytest.param((0, ["stranger"], 4711), None, id="root's group may do anything already"),
        pytest.param((50, [], 4711), None, id="Debian's staff, without members"),
        pytest.param((50, ["root", "me"], 4711), None, id="only root and me"),
        pytest.param((50, ["stranger"], 4711), "others of group", id="a stranger listed"),
        pytest.param((50, [], 50), "others of group", id="a stranger's primary group"),
        pytest.param((51, [], 4711), "others of group", id="a group nobody knows"),
    ],
)
def test_a_group_counts_by_its_members(
    tool: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[int, list[str], int], problem: str | None
) -> None:
    """`/usr/local/bin` is `root:staff 2775` on Debian: fine while nobody else is in that group."""
    gid, members, primary = case

    def group(number: int) -> grp.struct_group:
        if number == 51:
            raise KeyError(number)
        return grp.struct_group(("fake", "x", number, members))

    me = pwd.struct_passwd(("me", "x", os.geteuid(), 4712, "", "/", "/bin/sh"))
    stranger = pwd.struct_passwd(("stranger", "x", 4711, primary, "", "/", "/bin/sh"))
    monkeypatch.setattr(grp, "getgrgid", group)
    monkeypatch.setattr(pwd, "getpwall", lambda: [me, stranger])
    stat = os.stat_result((0o042775, 1, 1, 1, 0, gid, 0, 0, 0, 0))
    with pytest.raises(ValueError, match=problem) if problem else nullcontext():
        program._check(tool, stat)


def test_a_sandbox_that_shows_root_as_nobody_can_still_run_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a user namespace without root (systemd's PrivateUsers) the system's own files belong to nobody."""
    original = Path.read_text
    faked = {"/proc/self/uid_map": "1000 1000 1\n", "/proc/sys/kernel/overflowuid": "65534\n"}
    monkeypatch.setattr(Path, "read_text", lambda path: faked.get(str(path)) or original(path))
    assert program._system_uids() == {0, 65534}
    faked["/proc/self/uid_map"] = "0 0 4294967295\n"
    assert program._system_uids() == {0}
    faked["/proc/self/uid_map"] = "nonsense\n"
    assert program._system_uids() == {0}
