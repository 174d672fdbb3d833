"""Which files count as a project's settings."""

from __future__ import annotations

import pytest

from broker.engine.destination import Repository, main_checkout, project_files
from broker.engine.destination.places import OddPointer, git_folder

OWN = "/home/me/.claude"


def _folders(folder: str, repository: Repository | None) -> list[str]:
    """Name the folders of the candidates, each of which must have both files."""
    files = project_files(folder, repository, OWN)
    shared = [path.removesuffix("/.claude/settings.json") for path in files[::2]]
    assert [f"{at}/.claude/settings.local.json" for at in shared] == list(files[1::2])
    return shared


@pytest.mark.parametrize(
    ("folder", "repository", "folders"),
    [
        pytest.param("/w/p", None, ["/w/p"], id="no repository"),
        pytest.param("/w/p", Repository("/w/p"), ["/w/p"], id="the root itself"),
        pytest.param("/w/p/a/b", Repository("/w/p"), ["/w/p/a/b", "/w/p/a", "/w/p"], id="up to the root"),
        pytest.param("/w/tree", Repository("/w/tree", "/w/main"), ["/w/tree", "/w/main"], id="a worktree"),
        pytest.param("/w/p/a", Repository("/w/p", "/w/p"), ["/w/p/a", "/w/p"], id="a main checkout counts once"),
        pytest.param("/w", Repository("/elsewhere"), ["/w", ""], id="a root that is not above ends at /"),
    ],
)
def test_every_version_of_claude_code_finds_its_files_among_the_candidates(
    folder: str, repository: Repository | None, folders: list[str]
) -> None:
    """The working folder, its parents up to the repository's root, and the main checkout of a worktree."""
    assert _folders(folder, repository) == folders


def test_the_users_own_settings_are_no_projects() -> None:
    """Somebody who works in the home folder is not refused for their own settings; the local file is a project's."""
    assert project_files("/home/me", None, OWN) == ("/home/me/.claude/settings.local.json",)


@pytest.mark.parametrize(
    ("pointer", "common", "main"),
    [
        (b"gitdir: /w/main/.git/worktrees/tree\n", b"../..\n", "/w/main"),
        (b"gitdir: /w/main/.git/worktrees/tree\r\n", b"../..\r\n", "/w/main"),
        (b"gitdir: ../main/.git/worktrees/tree", b"/w/main/.git", "/w/main"),
        (b"gitdir: /w/bare.git/worktrees/tree\n", b"../..\n", None),
        (b"\xff", b"../..\n", None),
        (b"something: else\n", b"../..\n", None),
    ],
)
def test_the_main_checkout_is_found_as_git_finds_it(pointer: bytes, common: bytes, main: str | None) -> None:
    """By git's own two pointers; what is not such a pointer leads nowhere."""
    assert main_checkout("/w/tree", pointer, common) == main


def test_a_pointer_names_a_folder_from_the_root_on() -> None:
    """Relative pointers count from the checkout's root."""
    assert git_folder("/w/tree", b"gitdir: ../x/.git\n") == "/w/x/.git"


POINTER = b"gitdir: /w/main/.git/worktrees/tree\n"


@pytest.mark.parametrize(
    ("pointer", "common"),
    [
        (b"\xef\xbb\xbf" + POINTER, b"../..\n"),
        (POINTER, b"\xef\xbb\xbf../..\n"),
        (b"gitdir: /w/main/.git/worktrees/tree\x1f\n", b"../..\n"),
        (b"gitdir: /w/main/.git/worktrees/tree\xc2\x85\n", b"../..\n"),
        (b"gitdir: /w/main/.git/worktrees/tree\xff\n", b"../..\n"),
        (b"gitdir: /w/main/.git/worktrees/tree\nmore\n", b"../..\n"),
        (b"gitdir: /w/main/.git/worktrees/\0tree\n", b"../..\n"),
        (b"gitdir: /w/main/.git/worktrees/tree \n", b"../..\n"),
        (b"gitdir:/w/main/.git/worktrees/tree\n", b"../..\n"),
        (b"\n" + POINTER, b"../..\n"),
        (b"GITDIR: /w/main/.git/worktrees/tree\n", b"../..\n"),
        (b"gitdir: \n", b"../..\n"),
        (POINTER, b"\n"),
        (POINTER, b"../..\nmore\n"),
    ],
)
def test_a_pointer_that_could_be_read_in_two_ways_is_not_read_at_all(pointer: bytes, common: bytes) -> None:
    """Claude Code trims and decodes as JavaScript does: it would find the settings of a checkout that we never saw."""
    with pytest.raises(OddPointer, match="not as git writes it"):
        main_checkout("/w/tree", pointer, common)
