"""The `command` source, with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from broker.durations import Duration
from broker.errors import TransientFetchError
from broker.model import Kind
from broker.sources.command import CommandFetcher, CommandSettings, CommandSource, CommandSourceSettings
from tests.contracts.source_contract import (
    OTHER,
    PATIENCE_S,
    VALUE,
    Harness,
    SourceOfValues,
    SourceThatFails,
    SourceThatWaits,
    eventually,
    failure,
    token_of,
)

GATED = """#!/bin/sh
until [ -e gate ]; do sleep 0.01; done
[ ! -e complaint ] || { cat value; cat complaint >&2; exit 3; }
exec cat value
"""


class _CommandHarness(Harness):
    """A script that waits for its gate and prints a file, or complains."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fetcher = fetcher(script(folder / "mint", GATED.replace("#!/bin/sh", f"#!/bin/sh\ncd {folder} || exit")))
        self.release()
        self.give(VALUE)

    def fetcher(self) -> CommandFetcher:
        return self._fetcher

    def give(self, text: str) -> None:
        (self._folder / "value").write_text(text, newline="")

    def remove(self) -> None:
        (self._folder / "value").unlink()

    def hang(self) -> None:
        (self._folder / "gate").unlink()

    def release(self) -> None:
        (self._folder / "gate").touch()

    def fail(self, saying: str) -> None:
        (self._folder / "complaint").write_text(saying)


def script(path: Path, text: str) -> str:
    """Write an executable."""
    path.write_text(text)
    path.chmod(0o700)
    return str(path)


def fetcher(*argv: str, timeout_s: float = 20.0, env: tuple[str, ...] = ()) -> CommandFetcher:
    """Bind a command."""
    return CommandFetcher(CommandSourceSettings(env, Duration(timeout_s)), CommandSettings(argv))


def shell(text: str, timeout_s: float = 20.0, env: tuple[str, ...] = ()) -> CommandFetcher:
    """Bind a line of shell."""
    return fetcher("sh", "-c", text, timeout_s=timeout_s, env=env)


def is_running(pid_file: Path) -> bool:
    """Whether the process whose number is in the file still runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid_file.read_text().strip()}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


class TestCommand(SourceOfValues, SourceThatWaits, SourceThatFails):
    """It keeps the contract."""

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        """Give a script that prints a token."""
        return _CommandHarness(tmp_path)


async def test_json_with_an_expiry_is_understood() -> None:
    """What most credential tools print works without a setting."""
    before = time.time()
    issued = await shell("""echo '{"access_token": "fake-1", "expires_in": 3600}'""").fetch()
    assert token_of(issued) == "fake-1"
    assert issued.expires_at is not None
    assert before + 3600 <= issued.expires_at <= time.time() + 3600


async def test_the_process_format_of_aws_gives_a_session() -> None:
    """A `credential_process` of AWS's can be named as it is."""
    answer = json.dumps({"Version": 1, "AccessKeyId": "fake-id", "SecretAccessKey": "fake-key"})
    assert (await fetcher("echo", answer).fetch()).kind is Kind.AWS_SESSION


async def test_a_source_opens_its_commands() -> None:
    """The source's time-out reaches the fetcher, which leaves itself time to kill."""
    source = CommandSource(CommandSourceSettings(timeout=Duration(7)))
    bound = source.fetcher(CommandSettings(("echo", VALUE)), "work")
    assert bound.timeout_s == 9
    assert token_of(await bound.fetch()) == VALUE
    await source.close()


async def test_the_last_line_of_stderr_tells_why_it_failed() -> None:
    """That is where programs say what is wrong; the status is told too, and it is tried again."""
    error = await failure(shell("echo first >&2; echo 'login first' >&2; echo >&2; exit 7"))
    assert isinstance(error, TransientFetchError)
    assert str(error) == "sh: exit status 7: login first"


async def test_what_it_printed_or_was_given_is_masked_in_its_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that quotes a token, or the secret variable passed to it, quotes it to nobody."""
    monkeypatch.setenv("FAKE_MASTER", "fake-master-1")
    error = await failure(
        shell("""echo '{"token":"fake-half"}'; echo "no: fake-half, $FAKE_MASTER" >&2; exit 1""", env=("FAKE_MASTER",))
    )
    assert str(error) == "sh: exit status 1: no: ***, ***"


@pytest.mark.parametrize(
    ("line", "name"), [("kill -9 $$", "SIGKILL"), ("kill -15 $$", "SIGTERM"), ("kill -40 $$", "signal 40")]
)
async def test_a_signal_that_killed_it_is_named(line: str, name: str) -> None:
    """`SIGKILL` points at the out-of-memory killer, `SIGSEGV` at the program."""
    assert f"killed by {name}" in str(await failure(shell(line)))


async def test_a_command_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    """Nothing of it goes on after its time-out."""
    pids = [tmp_path / "child", tmp_path / "parent"]
    line = f"sleep 100 & echo $! > {pids[0]}; echo $$ > {pids[1]}; wait"
    error = await failure(shell(line, timeout_s=0.3))
    assert "no answer within 0.3 s" in str(error)
    await eventually(lambda: not any(is_running(pid) for pid in pids))


async def test_a_cancelled_command_is_killed_with_its_children(tmp_path: Path) -> None:
    """Nobody waits for its answer any more; and when the cancelling returns, it is gone."""
    pids = [tmp_path / "child", tmp_path / "parent"]
    bound = shell(f"sleep 100 & echo $! > {pids[0]}; echo $$ > {pids[1]}; wait")
    asking = asyncio.create_task(bound.fetch())
    await eventually(lambda: pids[1].exists() and is_running(pids[1]))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not is_running(pids[1])
    await eventually(lambda: not is_running(pids[0]))


async def test_the_next_fetch_works_right_after_a_cancelled_one(tmp_path: Path) -> None:
    """A cancelled command blocks nothing."""
    started = tmp_path / "started"
    bound = shell(f"[ -e {started} ] && exec echo {VALUE}; touch {started}; exec sleep 100")
    asking = asyncio.create_task(bound.fetch())
    await eventually(started.exists)
    asking.cancel()
    await asyncio.wait({asking})
    assert token_of(await bound.fetch()) == VALUE


async def test_a_child_left_behind_does_not_hold_up_the_answer(tmp_path: Path) -> None:
    """A program that starts an agent (which keeps stdout open) has answered when it ends itself."""
    pid = tmp_path / "agent"
    started = time.monotonic()
    try:
        assert token_of(await shell(f"sleep 100 & echo $! > {pid}; echo {VALUE}").fetch()) == VALUE
        assert time.monotonic() - started < PATIENCE_S
        assert is_running(pid), "and the agent goes on"
    finally:
        os.kill(int(pid.read_text()), 9)


async def test_a_command_that_closes_its_output_is_waited_for() -> None:
    """Its exit status counts, and that comes last."""
    assert "exit status 5" in str(await failure(shell(f"echo {VALUE}; exec >&- 2>&-; sleep 0.05; exit 5")))


@pytest.mark.parametrize("stream", ["", " >&2"], ids=["stdout", "stderr"])
async def test_an_endless_output_is_cut_off_and_its_command_killed(stream: str) -> None:
    """It costs 64 KiB of memory, not all of it, and not the whole time-out."""
    assert "more than 64 KiB" in str(await failure(shell(f"exec yes{stream}")))


async def test_it_gets_a_listed_environment_no_input_and_the_root_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No secret of the daemon's environment reaches it unasked, and no project's folder steers it."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "fake-leak")
    monkeypatch.setenv("FAKE_PASSED", "fake-passed")
    monkeypatch.setenv("LC_FAKE", "C")
    found = tmp_path / "found"
    line = f'env > {found}; pwd >> {found}; cat >> {found}; [ "$(ps -o sid= $$)" -eq $$ ] && echo {VALUE}'
    assert token_of(await shell(line, env=("FAKE_PASSED", "FAKE_NOT_SET")).fetch()) == VALUE
    text = found.read_text()
    assert "fake-leak" not in text
    assert "FAKE_PASSED=fake-passed\n" in text
    assert "LC_FAKE=C\n" in text
    assert f"PATH={os.environ['PATH']}\n" in text
    assert text.endswith("\n/\n")


async def test_a_replaced_program_is_noticed(tmp_path: Path) -> None:
    """A mended script is tried without anybody saying so."""
    path = tmp_path / "mint"
    bound = fetcher(script(path, f"#!/bin/sh\necho {VALUE}\n"))
    await bound.fetch()
    assert not bound.changed()
    script(path, f"#!/bin/sh\necho {OTHER} # mended\n")
    assert bound.changed()
    assert token_of(await bound.fetch()) == OTHER


async def test_a_program_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    """A script without its interpreter, and one that has gone meanwhile."""
    path = tmp_path / "mint"
    bound = fetcher(script(path, "#!/no/such/interpreter\n"))
    assert "cannot be started" in str(await failure(bound))
    path.unlink()
    assert "cannot be started" in str(await failure(bound))


async def test_ten_commands_run_at_the_same_time(tmp_path: Path) -> None:
    """A slow command delays no other credential: here each waits until all have started."""
    line = f"touch {tmp_path}/$$; until [ $(ls {tmp_path} | wc -l) -ge 10 ]; do sleep 0.01; done; echo {VALUE}"
    issued = await asyncio.wait_for(asyncio.gather(*(shell(line).fetch() for _ in range(10))), 3 * PATIENCE_S)
    assert [token_of(one) for one in issued] == [VALUE] * 10


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"argv": ()}, "name a program"),
        ({"argv": ("sh", "a\0b")}, "NUL"),
        ({"argv": ("sh",), "format": "text", "token_field": "a"}, 'format = "json"'),
        ({"argv": ("sh",), "expires_field": "a..b"}, "joined by dots"),
        ({"argv": ("no-such-program-fake",)}, "item 1: there is no such program on PATH"),
    ],
)
def test_settings_that_cannot_work_are_refused_unquoted(keys: dict[str, object], problem: str) -> None:
    """The mistake shows when the config is read, not when the first token is needed."""
    with pytest.raises(ValueError, match=problem) as caught:
        CommandSettings(**keys)  # type: ignore[arg-type]  # a table of cases
    assert "fake" not in str(caught.value)


def test_variables_are_named_not_set() -> None:
    """`env` takes no values: those would be secrets in the config."""
    with pytest.raises(ValueError, match="without values") as caught:
        CommandSourceSettings(("FAKE=fake-secret",))
    assert "fake-secret" not in str(caught.value)
