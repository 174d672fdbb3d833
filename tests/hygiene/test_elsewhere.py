"""Process hygiene that is proven beside what it belongs to: promise by promise, where."""

from __future__ import annotations

from typing import Final

import pytest

from tests.hygiene.proofs import exists

PROMISES: Final = {
    "two daemons never share a socket": "tests/daemon/test_daemon.py::test_twenty_starts_at_once_leave_one_daemon",
    "two daemons never share a state folder": (
        "tests/background/test_start.py::test_a_daemon_on_another_socket_is_named_soon"
    ),
    "a lock goes with its process, however it ends": "tests/daemon/test_daemon.py::test_killed_it_starts_again_over_what_it_left",
    "a lock's file is no way to another's": "tests/test_locks.py::test_open_folder_is_refused",
    "autostart: a clean environment, / as folder": (
        "tests/helper/test_autostart.py::test_nothing_of_the_callers_reaches_the_daemon"
    ),
    "autostart: closed descriptors": "tests/helper/test_autostart.py::test_open_descriptors_of_the_caller_are_closed",
    "autostart: the broker beside the helper, by absolute path": (
        "tests/helper/test_autostart.py::test_the_neighbour_is_found_however_the_helper_is_named"
    ),
    "autostart: no planted PATH": "tests/helper/test_autostart.py::test_a_planted_path_starts_nothing",
    "broker start: cut off from who started it": (
        "tests/background/test_detached.py::test_the_daemon_is_cut_off_from_who_started_it"
    ),
    "broker start: nothing that steers loaders": (
        "tests/background/test_detached.py::test_the_daemons_environment_is_the_callers_without_what_steers_loaders"
    ),
    "commands: absolute when the config is read": "tests/sources/test_program.py::test_a_name_is_looked_up_on_path",
    "commands: refused when others could write them": (
        "tests/sources/test_program.py::test_a_program_that_everybody_can_write_is_refused"
    ),
    "commands: every link on the way is looked at": "tests/sources/test_program.py::test_every_link_on_the_way_is_walked",
    "commands: no shell, no input, the root folder": (
        "tests/sources/test_command.py::test_it_gets_a_listed_environment_no_input_and_the_root_folder"
    ),
    "the helper leaves no core": "tests/helper/test_output.py::test_no_core_dump_can_hold_the_token",
    "no token in log or status": "tests/daemon/test_daemon.py::test_no_token_is_in_its_log_or_status",
    "no malformed request in the log": "tests/daemon/test_daemon.py::test_a_malformed_request_leaves_nothing_in_the_log",
}


@pytest.mark.parametrize("promise", PROMISES)
def test_the_proof_is_where_it_is_said_to_be(promise: str) -> None:
    """Renamed or removed, it is missed here."""
    assert exists(PROMISES[promise])
