"""Who stands behind a caller: found at any depth, remembered as long as it is true, and let go of in the end."""

from __future__ import annotations

import pytest

from broker.errors import Refused
from broker.platform.interface import Pinned
from broker.service.ancestors import DEPTH_MAX, REMEMBERED_MAX, Ancestors
from tests.service.processes import Processes


def table(*names: str) -> Processes:
    """Let a chain run: the first name is pid 100, its parent 101 and so on."""
    made = Processes()
    for at, name in enumerate(names):
        made.run(100 + at, name, 101 + at if at + 1 < len(names) else 1)
    return made


@pytest.mark.parametrize("between", [[], ["sh"], ["make", "sh", "python3", "sh"], ["x"] * (DEPTH_MAX - 2)])
def test_claude_code_is_found_at_any_depth(between: list[str]) -> None:
    """A helper's shell, or a build that a tool started: what asks below Claude Code asks for it."""
    with Ancestors(table("helper", *between, "claude", "bash")).of(100) as lineage:
        assert lineage.claude is not None
        assert lineage.claude.name == "claude"
        assert [process.name for process in lineage.chain] == ["helper", *between, "claude"]
        assert lineage.same()


def test_the_nearest_claude_code_is_the_one() -> None:
    """A Claude Code that was started by another's tool is a session of its own."""
    with Ancestors(table("helper", "claude", "bash", "claude")).of(100) as lineage:
        assert lineage.claude is not None
        assert lineage.claude.pid == 101


def test_a_person_has_none_above() -> None:
    """Up to the first process of the system, or to one that is hidden."""
    for processes in (table("curl", "bash", "sshd"), table("curl")):
        with Ancestors(processes).of(100) as lineage:
            assert lineage.claude is None
    hidden = table("curl", "bash")
    hidden.run(101, "bash", parent=4711)
    with Ancestors(hidden).of(100) as lineage:
        assert lineage.claude is None


@pytest.mark.parametrize("pid", [0, -1, 99])
def test_a_caller_that_the_kernel_does_not_name_has_no_chain(pid: int) -> None:
    """In another pid namespace, or gone."""
    with Ancestors(table("curl")).of(pid) as lineage:
        assert lineage.chain == ()
        assert lineage.environment is None
        assert not lineage.same()


def test_an_ancestry_too_deep_to_look_through_is_refused() -> None:
    """There may be a Claude Code beyond; nothing stays held on to."""
    processes = table("helper", *["x"] * DEPTH_MAX, "claude")
    with pytest.raises(Refused, match=r"pid 100 has more than 32 processes above it"):
        Ancestors(processes).of(100)
    assert processes.held == 0


def test_who_asks_again_costs_one_look() -> None:
    """A long-lived caller is not walked up again, and its children only to it."""
    processes = table("server", "bash", "sshd")
    ancestors = Ancestors(processes)
    for _ in range(3):
        with ancestors.of(100):
            pass
    looks = processes.looks
    with ancestors.of(100) as lineage:
        assert lineage.claude is None
        assert lineage.same()
    assert processes.looks == looks
    processes.run(50, "curl", parent=100)
    with ancestors.of(50):
        pass
    assert processes.looks == looks + 1


def test_a_shell_that_becomes_claude_code_is_noticed() -> None:
    """`exec claude` keeps pid and start time; who asks below it from now on asks for Claude Code."""
    processes = table("curl", "bash", "sshd")
    ancestors = Ancestors(processes)
    with ancestors.of(100) as lineage:
        assert lineage.claude is None
    processes.run(101, "claude", parent=102)
    processes.run(55, "broker-helper", parent=101)
    with ancestors.of(55) as lineage:
        assert lineage.claude is not None


MARKED = b"HOME=/h\0CLAUDE_CODE_ENTRYPOINT=cli\0"


def test_a_claude_code_by_another_name_is_found_by_what_it_started() -> None:
    """A renamed or wrapped one is no way round the guard: it marks its children, and is not marked itself."""
    processes = table("helper", "sh", "cc", "bash", "sshd")
    processes.environments |= {100: b"", 101: MARKED, 102: b"HOME=/h\0", 103: b""}
    ancestors = Ancestors(processes)
    for _ in range(2):
        with ancestors.of(100) as lineage:
            assert lineage.claude == processes.running[102]
            assert [process.name for process in lineage.chain] == ["helper", "sh", "cc"]


def test_a_claude_code_by_another_name_is_found_after_it_passed_for_something_else() -> None:
    """A helper that was started with a cleared environment does not tell; the next one does."""
    processes = table("curl", "cc", "bash")
    processes.environments |= {100: b"", 101: b""}
    ancestors = Ancestors(processes)
    with ancestors.of(100) as lineage:
        assert lineage.claude is None
    processes.run(50, "sh", parent=101)
    processes.environments[50] = MARKED
    with ancestors.of(50) as lineage:
        assert lineage.claude == processes.running[101]


@pytest.mark.parametrize("adopter", ["systemd", "tini"])
def test_who_adopted_what_claude_code_left_behind_is_none(adopter: str) -> None:
    """A terminal that its tool opened has the mark for good; the Claude Code is gone."""
    processes = table("curl", "bash", adopter)
    processes.environments |= {100: MARKED, 101: MARKED, 102: b"HOME=/h\0"}
    with Ancestors(processes).of(100) as lineage:
        assert lineage.claude is None


def test_a_process_that_shows_nothing_is_not_taken_for_claude_code() -> None:
    """Of another user, say; where nothing is shown of anybody there are no marks either."""
    processes = table("curl", "bash", "sudo")
    processes.environments |= {100: MARKED, 101: MARKED}
    with Ancestors(processes).of(100) as lineage:
        assert lineage.claude is None


def test_a_runtime_is_looked_at_anew_every_time() -> None:
    """`node x.js` may become `node cli.js` without another name."""
    processes = table("helper", "node", "bash")
    processes.argv[101] = ["node", "x.js"]
    ancestors = Ancestors(processes)
    with ancestors.of(100) as lineage:
        assert lineage.claude is None
    processes.argv[101] = ["node", "/x/@anthropic-ai/claude-code/cli.js"]
    processes.run(56, "helper", parent=101)
    with ancestors.of(56) as lineage:
        assert lineage.claude is not None
    asking = table("node", "bash")
    itself = Ancestors(asking)
    with itself.of(100) as lineage:
        assert lineage.claude is None
    asking.argv[100] = ["node", "/x/@anthropic-ai/claude-code/cli.js"]
    with itself.of(100) as lineage:
        assert lineage.claude is not None, "an endpoint's consumer is Claude Code itself"


def test_a_pid_that_was_handed_on_is_another_process() -> None:
    """What was known of the former is forgotten, and the former is not the same any more."""
    processes = table("curl", "bash")
    ancestors = Ancestors(processes)
    with ancestors.of(100) as lineage:
        processes.run(100, "broker-helper", parent=200, started=99)
        processes.run(200, "claude", parent=1)
        assert not lineage.same()
    with ancestors.of(100) as lineage:
        assert lineage.claude is not None


def test_a_parent_that_changes_while_it_is_remembered_is_not() -> None:
    """Between the walk and the remembering another process may have got its pid."""

    class Racing(Processes):
        def pin(self, pid: int) -> Pinned | None:
            if pid == 101:
                self.run(101, "claude", parent=1, started=77)
            if pid == 102:
                return None
            return super().pin(pid)

    processes = Racing()
    processes.run(100, "curl", 101)
    processes.run(101, "bash", 102)
    processes.run(102, "sshd", 1)
    ancestors = Ancestors(processes)
    with ancestors.of(100) as lineage:
        assert lineage.claude is None
    assert processes.held == 1, "only the caller itself"
    processes.run(57, "helper", parent=101)
    with ancestors.of(57) as lineage:
        assert lineage.claude is not None


def test_what_is_held_on_to_is_bounded_and_let_go_of() -> None:
    """Each costs a descriptor: callers come and go by the thousand."""
    processes = table("bash", "sshd")
    ancestors = Ancestors(processes)
    for pid in range(1000, 1000 + 3 * REMEMBERED_MAX):
        processes.run(pid, "curl", parent=100)
        with ancestors.of(pid):
            pass
        del processes.running[pid]
    assert processes.held <= REMEMBERED_MAX
    processes.run(200, "claude", parent=1)
    processes.run(201, "helper", parent=200)
    held = processes.held
    with ancestors.of(201):
        assert processes.held == held + 1, "the caller; Claude Code took the oldest one's place"
    ancestors.close()
    assert processes.held == 0


def test_a_process_that_comes_back_under_another_parent_replaces_what_was_known() -> None:
    """Nothing is held on to twice."""
    processes = table("server", "bash")
    ancestors = Ancestors(processes)
    with ancestors.of(100):
        pass
    processes.run(100, "server", parent=1)
    with ancestors.of(100):
        pass
    assert processes.held == 2
