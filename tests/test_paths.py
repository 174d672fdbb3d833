"""Where things are: the promised places, and never one in the folder that we happen to be started in."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from broker import paths
from broker.errors import ConfigError, UnsafePath

NOBODY = 4_000_000_000
"""A uid without a `/run/user` folder."""


def socket_path(env: Mapping[str, str]) -> Path:
    """Look up the socket of a user without a runtime folder."""
    return paths.socket_path(env, NOBODY)


@pytest.mark.parametrize(
    ("look", "env", "place"),
    [
        (paths.config_path, {"BROKER_CONFIG": "/c.toml", "HOME": "/h"}, "/c.toml"),
        (paths.config_path, {"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/broker/config.toml"),
        (paths.config_path, {"XDG_CONFIG_HOME": "x", "HOME": "/h"}, "/h/.config/broker/config.toml"),
        (paths.config_path, {"BROKER_CONFIG": "", "HOME": "/h"}, "/h/.config/broker/config.toml"),
        (paths.state_dir, {"BROKER_STATE_DIR": "/s", "HOME": "/h"}, "/s"),
        (paths.state_dir, {"XDG_STATE_HOME": "/x", "HOME": "."}, "/x/broker"),
        (paths.state_dir, {"HOME": "/h"}, "/h/.local/state/broker"),
        (socket_path, {"BROKER_SOCKET": "/b.sock", "HOME": "."}, "/b.sock"),
        (socket_path, {"XDG_RUNTIME_DIR": "/r", "BROKER_STATE_DIR": "s"}, "/r/broker/broker.sock"),
        (socket_path, {"XDG_RUNTIME_DIR": "r", "BROKER_STATE_DIR": "/s"}, "/s/broker.sock"),
        (socket_path, {"HOME": "/h"}, "/h/.local/state/broker/broker.sock"),
    ],
)
def test_everything_is_in_its_promised_place(
    look: Callable[[Mapping[str, str]], Path], env: dict[str, str], place: str
) -> None:
    """What is said explicitly comes first; an empty variable counts as unset, as does a relative one of XDG's."""
    assert look(env) == Path(place)


@pytest.mark.parametrize(
    ("look", "env", "name"),
    [
        (paths.config_path, {"HOME": "."}, "HOME"),
        (paths.state_dir, {"HOME": "home"}, "HOME"),
        (paths.state_dir, {"BROKER_STATE_DIR": "./s", "HOME": "/h"}, "BROKER_STATE_DIR"),
        (socket_path, {"BROKER_SOCKET": "b.sock"}, "BROKER_SOCKET"),
        (socket_path, {"BROKER_STATE_DIR": "s"}, "BROKER_STATE_DIR"),
        (socket_path, {"HOME": "."}, "HOME"),
    ],
)
def test_a_relative_place_is_refused(look: Callable[[Mapping[str, str]], Path], env: dict[str, str], name: str) -> None:
    """A cloned project could offer a config or a socket there; the helper refuses them too."""
    with pytest.raises(ConfigError, match=f"^{name}=[^:]*: must be an absolute path$"):
        look(env)


def test_a_relative_config_is_the_person_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`BROKER_CONFIG=./c.toml broker run` means the file in this folder."""
    monkeypatch.chdir(tmp_path)
    assert paths.config_path({"BROKER_CONFIG": "./c.toml"}) == tmp_path / "c.toml"


@pytest.mark.parametrize("env", [{}, {"HOME": ""}])
def test_no_home_at_all_says_so(env: dict[str, str]) -> None:
    """There is no place left to look in."""
    with pytest.raises(ConfigError, match="set HOME"):
        socket_path(env)


def test_a_path_too_long_for_a_socket_says_so() -> None:
    """It is never cut to fit, which would name another socket."""
    fits = "/" + "n" * (paths.SOCKET_ADDRESS_MAX - 2)
    assert os.fspath(paths.socket_path({"BROKER_SOCKET": fits})) == fits
    with pytest.raises(ConfigError, match="set a shorter BROKER_SOCKET"):
        paths.socket_path({"BROKER_SOCKET": f"{fits}n"})


def test_what_is_made_on_the_way_is_ours_alone(tmp_path: Path) -> None:
    """Under a umask of 000 too: else anybody could put a folder of theirs in the state folder's place."""
    before = os.umask(0)
    try:
        made = paths.private_folder(tmp_path / "local" / "state" / "broker")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (made, *made.parents[:2])] == [0o700] * 3


@pytest.mark.parametrize("there", ["a file", "a link to nowhere"])
def test_what_is_no_folder_is_refused_in_words(there: str, tmp_path: Path) -> None:
    """The line says what to do about it."""
    place = tmp_path / "state"
    if there == "a file":
        place.touch()
    else:
        place.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UnsafePath, match="must be a folder, not a link or file; remove it"):
        paths.private_folder(place)
