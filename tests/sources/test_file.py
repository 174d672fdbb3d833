"""The `file` source."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from broker.errors import PermanentFetchError, TransientFetchError
from broker.sources.file import FileFetcher, FileSettings
from tests.contracts.source_contract import (
    OTHER,
    PATIENCE_S,
    VALUE,
    Harness,
    SourceOfValues,
    SourceThatFails,
    SourceThatWaits,
    failure,
    token_of,
)
from tests.contracts.strangers import give_away


class _FileHarness(Harness):
    """Writes the file; a gate before each opening plays a file server that does not answer."""

    def __init__(self, path: Path, field: str | None, patch: pytest.MonkeyPatch) -> None:
        self.path = path
        self._field = field
        self._fetcher = FileFetcher(FileSettings(str(path), field))
        self._gate = threading.Event()
        self._gate.set()
        self._patch = patch
        read = FileFetcher._content
        patch.setattr(FileFetcher, "_content", lambda fetcher: self._gate.wait(PATIENCE_S) and read(fetcher))
        self.give(VALUE)

    def fetcher(self) -> FileFetcher:
        return self._fetcher

    def give(self, text: str) -> None:
        content = json.dumps({"data": {"key": text}}) if self._field else text
        write(self.path, content.encode())

    def remove(self) -> None:
        self.path.unlink()

    def hang(self) -> None:
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    def fail(self, saying: str) -> None:
        def broken(*_args: object) -> bytes:
            raise OSError(5, "Input/output error", saying)

        self._patch.setattr(os, "read", broken)


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    """Put a file there as rotating tools do: a new one, renamed."""
    new = path.with_name("new")
    new.write_bytes(content)
    new.chmod(mode)
    return new.rename(path)


class TestFile(SourceOfValues, SourceThatWaits, SourceThatFails):
    """It keeps the contract, as text and as JSON."""

    @pytest.fixture(params=[None, "data.key"], ids=["text", "json"])
    def harness(self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Harness:
        """Give a file with a token in it."""
        return _FileHarness(tmp_path / "token", request.param, monkeypatch)


@pytest.mark.parametrize(("content", "token"), [(b"fake\n", "fake"), (b"fake\r\n", "fake"), (b"fake", "fake")])
async def test_one_newline_at_the_end_is_removed(tmp_path: Path, content: bytes, token: str) -> None:
    """Editors and `echo` end a file with one."""
    path = write(tmp_path / "token", content)
    assert token_of(await FileFetcher(FileSettings(str(path))).fetch()) == token


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
async def test_a_file_that_others_can_read_is_refused_unless_that_is_meant(tmp_path: Path, mode: int) -> None:
    """The mistake is told with the command that mends it; Kubernetes' 0644 files are taken with `shared`."""
    path = write(tmp_path / "token", VALUE.encode(), mode)
    error = await failure(FileFetcher(FileSettings(str(path))))
    assert isinstance(error, PermanentFetchError)
    assert f"chmod go= {path}" in str(error)
    assert token_of(await FileFetcher(FileSettings(str(path), shared=True)).fetch()) == VALUE


@pytest.mark.parametrize("mode", [0o620, 0o602])
async def test_a_file_that_others_can_write_is_refused_always(tmp_path: Path, mode: int) -> None:
    """They could have this user work under their own account."""
    path = write(tmp_path / "token", VALUE.encode(), mode)
    error = await failure(FileFetcher(FileSettings(str(path), shared=True)))
    assert isinstance(error, PermanentFetchError)
    assert f"chmod go-w {path}" in str(error)


async def test_a_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner can change it at any time, whatever its mode."""
    path = write(tmp_path / "token", VALUE.encode())
    stranger = give_away(path, monkeypatch)
    error = await failure(FileFetcher(FileSettings(str(path))))
    assert isinstance(error, PermanentFetchError)
    assert f"uid {stranger}" in str(error)


async def test_a_fifo_or_folder_is_refused_and_hangs_nothing(tmp_path: Path) -> None:
    """Opening a FIFO would wait for a writer for ever."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "fifo", tmp_path):
        error = await failure(FileFetcher(FileSettings(str(path))))
        assert isinstance(error, PermanentFetchError)
        assert "regular file" in str(error)


async def test_a_link_is_followed_and_its_turning_is_noticed(tmp_path: Path) -> None:
    """Kubernetes turns a link to a new folder; both the new token and the change are seen."""
    for name, value in (("one", VALUE), ("two", OTHER)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "token", value.encode(), 0o644)
    link = tmp_path / "data"
    link.symlink_to("one")
    fetcher = FileFetcher(FileSettings(str(link / "token"), shared=True))
    assert token_of(await fetcher.fetch()) == VALUE
    assert not fetcher.changed()
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(link)
    assert fetcher.changed()
    assert token_of(await fetcher.fetch()) == OTHER
    assert not fetcher.changed()


async def test_a_file_that_comes_is_written_or_goes_is_noticed(tmp_path: Path) -> None:
    """Each step counts as a change, so that a person never has to say `broker refresh`."""
    path = tmp_path / "token"
    fetcher = FileFetcher(FileSettings(str(path)))
    assert not fetcher.changed(), "before the first fetch there is nothing to compare with"
    await failure(fetcher)
    for value in (VALUE, OTHER):
        write(path, value.encode())
        assert fetcher.changed()
        await fetcher.fetch()
        assert not fetcher.changed()
    path.unlink()
    assert fetcher.changed()


async def test_a_file_that_is_not_there_yet_empty_or_cut_off_is_tried_again(tmp_path: Path) -> None:
    """These are what a file looks like while something rotates it."""
    path = tmp_path / "token"
    fetcher = FileFetcher(FileSettings(str(path), "key"))
    assert isinstance(await failure(fetcher), TransientFetchError)
    for content in (b"", b'{"key": "fake-to'):
        write(path, content)
        assert isinstance(await failure(fetcher), TransientFetchError)


async def test_a_file_written_while_it_is_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of an old token and half of a new one is no token."""
    path = write(tmp_path / "token", VALUE.encode())
    read = os.read

    def read_and_write(descriptor: int, size: int) -> bytes:
        content = read(descriptor, size)
        with path.open("ab") as file:
            file.write(b"-more")
        monkeypatch.setattr(os, "read", read)
        return content

    monkeypatch.setattr(os, "read", read_and_write)
    error = await failure(FileFetcher(FileSettings(str(path))))
    assert isinstance(error, TransientFetchError)
    assert "being written" in str(error)


@pytest.mark.parametrize(("field", "size"), [(None, 65_537), ("key", 1_048_577)])
async def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path, field: str | None, size: int) -> None:
    """A log by mistake costs a message, not the daemon's memory."""
    path = write(tmp_path / "token", b"x" * size)
    assert "larger than" in str(await failure(FileFetcher(FileSettings(str(path), field))))


@pytest.mark.parametrize("content", [b'{"other": "fake-1"}', b'{"key": 17}', b'{"key": {"a": "fake-1"}}'])
async def test_json_without_the_text_asked_for_names_the_field(tmp_path: Path, content: bytes) -> None:
    """What is missing is named, what is there is not."""
    path = write(tmp_path / "token", content)
    error = await failure(FileFetcher(FileSettings(str(path), "key")))
    assert "field key" in str(error)
    assert "fake-1" not in str(error)


async def test_a_file_that_may_not_be_read_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying again does not help; a change of the file or its folder is noticed."""

    def denied(*_args: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    error = await failure(FileFetcher(FileSettings(str(tmp_path / "token"))))
    assert isinstance(error, PermanentFetchError)
    assert "may not read" in str(error)


@pytest.mark.parametrize("path", ["token", "./token", "", "~nobody-has-this-name/x", "/a\0b"])
def test_a_path_that_depends_on_the_folder_is_refused(path: str) -> None:
    """The daemon's folder is nobody's business."""
    with pytest.raises(ValueError, match="absolute"):
        FileSettings(path)


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """`~/token` means the user's, and compares equal to its full form over a reload."""
    monkeypatch.setenv("HOME", "/home/fake")
    assert FileSettings("~/token") == FileSettings("/home/fake/token")


@pytest.mark.parametrize("field", ["", ".", "a..b", "a."])
def test_a_field_is_names_and_dots(field: str) -> None:
    """An empty name in it is a slip."""
    with pytest.raises(ValueError, match="dots"):
        FileSettings("/x", field)
