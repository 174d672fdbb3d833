"""What a developer can rely on who sets Claude Code up by `broker setup claude-code` and by nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests import setup_claude_code
from tests.fakes.handed_key import hand_key
from tests.real.claude import Answer, Claude
from tests.real.conftest import Need, minting_config
from tests.real.installed import BROKER, Daemon, Place, running
from tests.real.process import wait_until
from tests.real.thief import Authority, Thief
from tests.real.upstream import ANSWER, Upstream
from tests.setup_claude_code import NEWER, OLDER, VERSIONS

pytestmark = pytest.mark.real

PONG = Answer(ANSWER, failed=False)
OWN = '{\n    "model" : "claude-fake-1",\n    "env": {"EDITOR": "vi"}\n}\n'
"""A person's settings, in a person's layout."""
SWITCH = "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"

Setup = Callable[..., subprocess.CompletedProcess[str]]
every_version = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def served(place: Place, upstream: Upstream) -> Iterator[Daemon]:
    """Run a daemon whose credential may not go to the upstream yet."""
    upstream.mint.lifetime_s = 600
    place.configure(minting_config(upstream).replace(f'audience = ["{upstream.url}"]\n', ""))
    with running(place) as daemon:
        yield daemon


@pytest.fixture
def claude(request: pytest.FixtureRequest, need: Need, place: Place) -> Claude:
    """Give a Claude Code of the test's `version` that knows nothing of us or of the upstream."""
    version = request.getfixturevalue("version") if "version" in request.fixturenames else NEWER
    binary = setup_claude_code.binary(version)
    need(binary.exists(), f"Claude Code {version} is missing")
    made = Claude.settle(binary, place.folder / "claude", settings={}, upstream_url="", env=place.env)
    settings_of(made).write_text(OWN)
    return replace(made, env={name: value for name, value in made.env.items() if name != "ANTHROPIC_BASE_URL"})


@pytest.fixture
def setup(claude: Claude) -> Setup:
    """Give `setup("--undo")`: types `broker setup claude-code --undo` in the developer's project."""
    return lambda *arguments: broker(claude, "setup", "claude-code", *arguments)


def broker(claude: Claude, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Type a command in the developer's project."""
    return claude.type(BROKER, *arguments, stdin=stdin)


def settings_of(claude: Claude) -> Path:
    """Name the user's settings file."""
    return Path(claude.env["HOME"]) / ".claude" / "settings.json"


@every_version
@pytest.mark.usefixtures("served")
def test_one_command_is_enough_and_another_takes_it_back(
    version: str, claude: Claude, setup: Setup, upstream: Upstream, place: Place
) -> None:
    """The prompt is answered through helper and daemon; after the undo every byte is as before, and nobody asks us."""
    config = place.config.read_bytes()
    done = setup("--credential", "work", "--base-url", upstream.url, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert claude.ask("say pong") == PONG
    assert [seen.status for seen in upstream.seen] == [200]
    assert json.loads(settings_of(claude).read_text())["env"]["CLAUDE_CODE_API_KEY_HELPER_TTL_MS"] == "300000"

    assert setup("--undo").returncode == 0
    assert settings_of(claude).read_text() == OWN
    assert place.config.read_bytes() == config
    count = place.credential("work")["served"]
    assert replace(claude, env={**claude.env, "ANTHROPIC_BASE_URL": upstream.url}).ask("say pong").failed
    assert place.credential("work")["served"] == count
    assert len(upstream.seen) == 1


def test_two_commands_lead_from_nothing_to_an_answer(claude: Claude, upstream: Upstream, place: Place) -> None:
    """No config, no daemon: a secret is stored, Claude Code is set up, and it works."""
    env = {name: value for name, value in claude.env.items() if name != "BROKER_AUTOSTART"}
    newcomer = replace(claude, env={**env, **hand_key(place.folder)})
    setup_ = ("setup", "claude-code", "--base-url", upstream.url, "--yes")
    said = broker(newcomer, "config", "check").stderr
    assert said.endswith("run: broker secret set anthropic, then: broker setup claude-code\n")
    try:
        assert broker(newcomer, "secret", "set", "anthropic", stdin=upstream.mint.mint().text).returncode == 0
        assert broker(newcomer, *setup_).stderr == ""
        assert newcomer.ask("say pong") == PONG
        assert broker(newcomer, "setup", "claude-code", "--undo").returncode == 0
        assert not place.config.exists()
    finally:
        assert broker(newcomer, "stop").returncode == 0


@pytest.mark.parametrize("version", [OLDER])
@pytest.mark.usefixtures("served", "version")
def test_the_key_does_not_go_to_anthropic_with_the_telemetry(
    claude: Claude, setup: Setup, upstream: Upstream, tmp_path: Path
) -> None:
    """A proxy that plays api.anthropic.com sees it from 2.1.197 only once the switch is gone that setup has written."""
    authority = Authority.for_host("api.anthropic.com", tmp_path)
    (tmp_path / "root.pem").write_text(authority.root)
    assert setup("--credential", "work", "--base-url", upstream.url, "--yes").returncode == 0
    with Thief("fake-token-", authority).lurking() as anthropic:
        env = {"HTTPS_PROXY": anthropic.url, "NO_PROXY": "127.0.0.1"}
        env |= {"NODE_EXTRA_CA_CERTS": str(tmp_path / "root.pem")}
        env |= {name: value for name, value in claude.env.items() if name != SWITCH}
        seen = replace(claude, env=env)
        assert seen.ask("say pong") == PONG
        assert not anthropic.has_it.is_set()
        own = json.loads(settings_of(claude).read_text())
        del own["env"][SWITCH]
        settings_of(claude).write_text(json.dumps(own))
        wait_until(
            lambda: seen.ask("say pong") == PONG and anthropic.has_it.is_set(), "it leaks, else this test shows nothing"
        )


@pytest.mark.parametrize("scope", ["project", "local"])
@pytest.mark.usefixtures("served")
def test_a_project_can_be_set_up_by_itself(scope: str, claude: Claude, setup: Setup, upstream: Upstream) -> None:
    """The user's own settings stay out of it, and the audience guard takes no offence at what setup wrote."""
    assert setup("--scope", scope, "--credential", "work", "--base-url", upstream.url, "--yes").returncode == 0
    assert settings_of(claude).read_text() == OWN
    assert claude.ask("say pong") == PONG


@pytest.mark.usefixtures("served")
def test_the_ttl_fits_the_lifetime_that_the_daemon_has_seen(
    claude: Claude, setup: Setup, upstream: Upstream, place: Place
) -> None:
    """`--ttl auto` has a token fetched to learn it, sets half of it, and the daemon has nothing to warn of."""
    upstream.mint.lifetime_s = 60
    done = setup("--credential", "work", "--base-url", upstream.url, "--yes")
    assert "ttl 30s: tokens of work live 1m\n" in done.stdout
    assert claude.ask("say pong") == PONG
    assert place.credential("work")["warnings"] == []
