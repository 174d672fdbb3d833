"""What the config may say, and what is said of one that is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from broker.config import Config, DaemonConfig, EndpointConfig, Endpoints, GcpEndpointConfig, parse
from broker.durations import Duration
from broker.errors import ConfigError
from broker.model import Timing
from broker.sources import TYPES as REAL_TYPES
from broker.sources.interface import NoSettings, PlainSource, SourceType

PATH = Path("/fake/config.toml")


@dataclass(frozen=True, slots=True)
class _ServerSettings:
    address: str
    retries: int = 3


@dataclass(frozen=True, slots=True)
class _Wait:
    longest: Duration | None = None


@dataclass(frozen=True, slots=True)
class _EntrySettings:
    field: str
    mode: Literal["auto", "text", "json"] = "auto"
    words: tuple[str, ...] = ()
    share: float = 0.5
    shared: bool = False
    wait: _Wait | None = None

    def __post_init__(self) -> None:
        if self.field == "forbidden":
            raise ValueError("field must be another one")


def _never(_settings: Any, _context: Any = None) -> Any:  # noqa: ANN401  # reading a config opens nothing
    raise AssertionError("reading a config must not open a source")


TYPES = {
    "plain": SourceType("plain", NoSettings, _EntrySettings, lambda _settings, _context: PlainSource(_never)),
    "server": SourceType("server", _ServerSettings, _EntrySettings, _never),
}

ONE = '[credentials.one]\nsource = "plain"\nfield = "a"\n'


def read(text: str, **env: str) -> Config:
    """Read a config's text."""
    return parse(text, PATH, TYPES, env)


def problems(text: str, **env: str) -> list[str]:
    """Read a wrong config; give its problems without the file's name, which each begins with."""
    with pytest.raises(ConfigError) as caught:
        read(text, **env)
    lines = caught.value.problems
    assert all(line.isprintable() for line in lines), "one line each"
    assert str(caught.value) == "\n".join(lines)
    assert all(line.startswith(f"{PATH}: ") for line in lines)
    return [line.removeprefix(f"{PATH}: ") for line in lines]


def only_problem(text: str, **env: str) -> str:
    """Give the one problem of a config."""
    (problem,) = problems(text, **env)
    return problem


def test_a_whole_config_is_read() -> None:
    """Every table, with its defaults and its own values, durations in seconds."""
    config = read(
        """
        default = "work"
        [daemon]
        persist = "off"
        log_level = "debug"
        infer_rejection = false
        ttl_max = "2h"
        lock_after = "8h"
        lock_on = ["suspend", "screen-lock"]
        [sources.corp]
        type = "server"
        address = "fake"
        [credentials.work]
        source = "corp"
        field = "a.b"
        mode = "json"
        words = ["x", "y"]
        share = 1
        wait = { longest = "1h30m" }
        audience = ["https://llm.example:4000"]
        min_validity = "90s"
        max_age = "1d"
        idle_after = "500ms"
        refresh_interval_min = "1.5s"
        [credentials.other]
        source = "plain"
        field = "c"
        """
    )
    assert config.path == PATH
    assert config.default == "work"
    assert config.daemon == DaemonConfig("off", "debug", False, 7200, 28800, ("suspend", "screen-lock"))  # noqa: FBT003  # in the order of the table
    assert config.sources["corp"].settings == _ServerSettings("fake")
    assert config.sources["plain"].settings == NoSettings()
    work, other = config.credentials["work"], config.credentials["other"]
    assert work.settings == _EntrySettings("a.b", "json", ("x", "y"), 1.0, wait=_Wait(Duration(5400)))
    assert (work.source, work.audience) == ("corp", ("https://llm.example:4000",))
    assert work.timing == Timing(90, 86400, 0.5, 1.5, 7200)
    assert other.timing == Timing(ttl_max_s=7200)
    assert list(config.credentials) == ["work", "other"]


def test_reading_twice_gives_the_same() -> None:
    """Configs compare by value: that is how a reload knows which credentials keep their tokens."""
    assert read(ONE) == read(ONE)
    assert read(ONE).credentials["one"] != read(ONE + 'max_age = "1h"\n').credentials["one"]


def test_the_defaults_of_the_daemon() -> None:
    """As is promised."""
    assert read(ONE).daemon == DaemonConfig("auto", "info", infer_rejection=True, ttl_max_s=86400)


def test_the_only_credential_is_the_default_and_of_several_none() -> None:
    """So that the common case needs no line for it."""
    assert read(ONE).default == "one"
    assert read(ONE + ONE.replace("one", "two")).default is None


def test_a_table_may_have_the_name_of_a_type() -> None:
    """Then the table is meant, not the bare type."""
    assert read('[sources.plain]\ntype = "server"\naddress = "a"\n' + ONE).sources["plain"].type is TYPES["server"]


def test_two_credentials_share_a_bare_source() -> None:
    """And with it a login."""
    assert list(read(ONE + ONE.replace("one", "two")).sources) == ["plain"]


@pytest.mark.parametrize("level", ["error", "ERROR"])
def test_the_log_level_of_the_environment_wins(level: str) -> None:
    """For one run with more in the log."""
    assert read(ONE, BROKER_LOG_LEVEL=level).daemon.log_level == "error"
    assert read(ONE, BROKER_LOG_LEVEL="").daemon.log_level == "info"


def test_a_wrong_log_level_in_the_environment_is_an_error() -> None:
    """Named by the variable, not by a place in the file."""
    with pytest.raises(ConfigError, match=r"^BROKER_LOG_LEVEL: expected one of .* did you mean 'debug'\?$"):
        read(ONE, BROKER_LOG_LEVEL="debgu")


def test_a_settings_class_that_breaks_shows_no_value() -> None:
    """Even a bug in a source's settings does not spill what stands in the config."""

    @dataclass(frozen=True, slots=True)
    class Broken:
        field: str

        def __post_init__(self) -> None:
            raise TypeError(f"bug with {self.field}")

    types = {"broken": SourceType("broken", NoSettings, Broken, _never)}
    with pytest.raises(ConfigError, match=r"credentials.one: cannot be used \(TypeError\)$"):
        parse("[credentials.one]\nsource = 'broken'\nfield = 'fake-secret'", PATH, types, {})


def test_a_wrong_source_hides_nothing_of_its_credentials() -> None:
    """What is wrong in a credential is said in the same run as what is wrong in its source."""
    found = problems('[sources.corp]\ntype = "server"\nretries = "3"\n[credentials.a]\nsource = "corp"\nsurprise = 1\n')
    assert any(line.startswith("sources.corp.retries") for line in found)
    assert any(line.startswith("credentials.a.surprise: unknown key") for line in found)


def test_every_problem_is_reported_at_once() -> None:
    """One run tells all: nobody mends a config one error at a time."""
    found = problems(
        """
        defalt = "x"
        default = "y"
        [daemon]
        log_level = "loud"
        ttl_max = 90
        [sources.corp]
        type = "servr"
        [sources.other]
        type = "server"
        retries = "3"
        [credentials.a]
        source = "corp"
        [credentials.b]
        source = "plian"
        [credentials.c]
        source = "plain"
        words = ["x", 1, true]
        audience = ["ftp://x", "https://ok.example"]
        idle_after = "never"
        """
    )
    places = [line.split(": ")[0] for line in found]
    assert sorted(places) == sorted(
        [
            "defalt",
            "default",
            "daemon.log_level",
            "daemon.ttl_max",
            "sources.corp.type",
            "sources.other.address",
            "sources.other.retries",
            "credentials.b.source",
            "credentials.c.field",
            "credentials.c.words",
            "credentials.c.words",
            "credentials.c.audience",
            "credentials.c.idle_after",
        ]
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("fild = 1", "credentials.one.fild: unknown key; did you mean 'field'?"),
        ('min_validty = "1s"', "credentials.one.min_validty: unknown key; did you mean 'min_validity'?"),
        ("mode = 1", "credentials.one.mode: expected text, found an integer"),
        ('mode = "jsn"', 'credentials.one.mode: expected one of "auto", "text", "json"; did you mean \'json\'?'),
        ('words = "x"', "credentials.one.words: expected a list, found text"),
        ("words = [{}]", "credentials.one.words: item 1: expected text, found a table"),
        ("share = true", "credentials.one.share: expected a number, found a boolean"),
        ("share = '1'", "credentials.one.share: expected a number, found text"),
        (f"share = {10**400}", "credentials.one.share: expected a smaller number"),
        ("shared = 1", "credentials.one.shared: expected true or false, found an integer"),
        ("shared = 2026-01-01", "credentials.one.shared: expected true or false, found a date or time"),
        ("audience = [1]", "credentials.one.audience: item 1: expected text, found an integer"),
        ("wait = 1.5", "credentials.one.wait: expected a table, found a decimal number"),
        ("wait = { longst = 1 }", "credentials.one.wait.longst: unknown key; did you mean 'longest'?"),
        ('max_age = "90"', 'credentials.one.max_age: expected a duration such as "90s", "15m" or "8h"'),
        (
            "max_age = 90",
            'credentials.one.max_age: expected a duration such as "90s", "15m" or "8h", found an integer; did you mean "90s"?',
        ),
        (
            "max_age = 9000000000",
            'credentials.one.max_age: expected a duration such as "90s", "15m" or "8h", found an integer',
        ),
    ],
)
def test_a_wrong_value_is_told_by_place_expectation_and_type(line: str, problem: str) -> None:
    """The place to go to, what belongs there, and what stands there instead, by its type alone."""
    assert only_problem(ONE + line) == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('default = "on"\n' + ONE, "default: no such credential; did you mean 'one'?; known are one"),
        ("default = 1\n" + ONE, "default: expected text, found an integer"),
        ("defaults = 1\n" + ONE, "defaults: unknown key; did you mean 'default'?"),
        ("", "credentials: names no credential; run: broker setup claude-code; or add a table [credentials.NAME]"),
        (
            "[credentials]\n",
            "credentials: names no credential; run: broker setup claude-code; or add a table [credentials.NAME]",
        ),
        ("credentials = 1", "credentials: expected a table, found an integer"),
        ("sources = []\n" + ONE, "sources: expected a table, found a list"),
        ("daemon = 1\n" + ONE, "daemon: expected a table, found an integer"),
        ("[credentials]\none = 1", "credentials.one: expected a table [credentials.NAME], found an integer"),
        ("[sources.a]\n" + ONE, 'sources.a.type: missing; expected one of "plain", "server"'),
        ("[sources.a]\ntype = 1\n" + ONE, "sources.a.type: expected text, found an integer"),
        (
            "[sources.a]\ntype = 'sever'\n" + ONE,
            'sources.a.type: no such source type; did you mean \'server\'?; expected one of "plain", "server"',
        ),
        ("[credentials.one]\nfield = 'a'", "credentials.one.source: missing; expected text"),
        ("[credentials.one]\nsource = 1", "credentials.one.source: expected text, found an integer"),
        (
            "[credentials.one]\nsource = 'plan'",
            "credentials.one.source: no such source; did you mean 'plain'?; known are plain, server",
        ),
        (
            "[credentials.one]\nsource = 'server'",
            'credentials.one.source: this type needs settings; add a table [sources.NAME] with type = "server"',
        ),
        ("[credentials.one]\nsource = 'plain'", "credentials.one.field: missing; expected text"),
        ("[credentials.one]\nsource = 'plain'\nfield = 'forbidden'", "credentials.one: field must be another one"),
    ],
)
def test_a_wrong_structure_is_told(text: str, problem: str) -> None:
    """Dangling names, missing keys, tables that are none."""
    assert only_problem(text) == problem


@pytest.mark.parametrize("name", ['""', "-a", ".a", '"a b"', '"a\\u001b[31m"', "a" * 65, '"\\u00e4"'])
def test_a_name_is_plain(name: str) -> None:
    """Names go into addresses, headers, tables and terminals."""
    text = ONE.replace("one", name) if name[0] == '"' else ONE.replace("one", f'"{name}"')
    assert "a name is letters, digits and . _ -" in only_problem(text)


@pytest.mark.parametrize(
    "key",
    ["token", "api_key", "apikey", "api-key", "key", "secret", "client_secret", "password", "PASSWORD", "access_token"],
)
@pytest.mark.parametrize("source", ["plain", "nothing"])
def test_a_secret_as_text_is_told_where_it_belongs(key: str, source: str) -> None:
    """Also where the source is wrong, too; and it is never repeated."""
    found = problems(f'[credentials.one]\nsource = "{source}"\nfield = "a"\n{key} = "fake-secret-1"')
    (about,) = (line for line in found if line.startswith(f"credentials.one.{key}: "))
    assert "a secret is never text in the config" in about
    assert 'source = "local" (store it by: broker secret set NAME)' in about
    assert "fake-secret-1" not in "".join(found)


def test_a_secret_used_as_a_key_is_not_repeated() -> None:
    """`sk-ant-... = 1` is a slip that happens; a key with control characters could paint over the terminal."""
    for key in ("sk-ant-api03-" + "f" * 80, "\\u001b[31m"):
        assert only_problem(f'{ONE}"{key}" = 1').startswith("credentials.one.(odd key): unknown key; known are ")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.anthropic.com",
        "https://llm.corp.example:4000/anthropic/v1",
        "http://127.0.0.1:8080",
        "http://localhost",
        "https://[2001:db8::1]:443/",
        "https://*.corp.example",
        "https://lite_llm:4000",
        "https://A-B.example",
    ],
)
def test_an_audience_is_base_urls(url: str) -> None:
    """Hosts, addresses, ports, paths, and one wildcard label in front."""
    assert read(ONE + f'audience = ["{url}"]').credentials["one"].audience == (url,)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.anthropic.com",
        "ftp://host",
        "HTTPS://host",
        "https://",
        "https:///path",
        "https://user@host",
        "https://user:fake-secret@host",
        r"https://A\\@B",
        "https://host\\\\path",
        "https://host?x=1",
        "https://host#x",
        "https://ho%73t",
        "https://host/%2e%2e",
        "https://host/a/../b",
        "https://host/.",
        "https://ho st",
        "https://host\\n",
        "https://host\\u0000",
        "https://h\\u00f6st",
        "https://host:0",
        "https://host:65536",
        "https://host:",
        "https://*",
        "https://*host",
        "https://a.*.host",
        "https://*.*.host",
        "https://*.127.0.0.1",
        "https://127.1",
        "https://0x7f.1",
        "https://2130706433",
        "https://300.1.1.1",
        "https://host.",
        "https://a..b",
        "https://-host",
        "https://host-",
        "https://[::g]",
        "https://[127.0.0.1]",
        "https://" + "a." * 127 + "example",
        "https://" + "a" * 64,
    ],
)
def test_what_two_parsers_could_read_differently_is_no_audience(url: str) -> None:
    r"""Of `http://A\@B` one program dials A and another B: the guard must never be the one that is wrong."""
    problem = only_problem(ONE + f'audience = ["https://fine.example", "{url}"]')
    assert problem.startswith("credentials.one.audience: item 2: expected a")
    assert "fake-secret" not in problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = ", "not valid TOML: Invalid value"),
        ("\na = 1\nb == 2\n", "line 3, column 4: not valid TOML: Invalid value"),
        ('a = "fake-secret-1\n', "line 1, column 19: not valid TOML: Illegal character '\\n'"),
        (
            "[credentials.one]\n[credentials.one]\n",
            "line 2, column 17: not valid TOML: this table or key is there already",
        ),
        (
            "[a.fake-secret-1]\nb = 1\n[a]\nfake-secret-1.c = 2\n",
            "line 4, column 20: not valid TOML: this table or key is",
        ),
        ("a = 1\na = 2\n", "line 2, column 6: not valid TOML: this table or key is there already"),
        ("x = { fake-secret-1 = 1, fake-secret-1 = 2 }\n", "line 1, column 43: not valid TOML: this table or key is"),
        ("x = " + "[" * 10_000, "a number too long, or tables nested too deep"),
        ("x = " + "1" * 10_000, "a number too long, or tables nested too deep"),
    ],
)
def test_a_syntax_error_is_told_by_line_and_column(text: str, problem: str) -> None:
    """And by the parser's words as far as these quote nothing."""
    found = only_problem(text)
    assert problem in found
    assert "fake-secret-1" not in found


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("127.9.9.9:8123", ("127.9.9.9", 8123)), ("[::1]:65535", ("::1", 65535))],
)
def test_an_endpoint_listens_on_the_loopback(listen: str, expected: tuple[str, int]) -> None:
    """Faces for other programs are off until a table says where they listen."""
    assert read(ONE).endpoints == Endpoints()
    assert read(f'{ONE}\n[endpoints.aws]\nlisten = "{listen}"\n').endpoints.aws == EndpointConfig(*expected)


def test_the_metadata_server_may_name_its_credential() -> None:
    """Which account is the default one is the config's to say."""
    found = read(f'{ONE}\n[endpoints.gcp]\nlisten = "127.0.0.1:0"\ncredential = "one"\n').endpoints.gcp
    assert found == GcpEndpointConfig("127.0.0.1", 0, "one")


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:80", "192.168.0.1:80", "localhost:80", "127.0.0.1", "127.0.0.1:99999", "[::]:1", "127.1:8", ""]
)
def test_an_endpoint_listens_nowhere_else(listen: str) -> None:
    """Another machine, or a name that may lead anywhere, never reaches a credential."""
    (problem,) = problems(f'{ONE}\n[endpoints.aws]\nlisten = "{listen}"\n')
    assert problem.startswith("endpoints.aws.listen: expected a loopback address")


# --- what hides nothing ------------------------------------------------------------------------------------------


def test_a_wrong_key_does_not_hide_the_rules_of_the_others() -> None:
    """Unknown, of the wrong type, or against a rule of the table: each is said, and only once."""
    assert problems('[credentials.one]\nsource = "plain"\nfield = "forbidden"\nmodus = 1\nshare = "a"\n') == [
        "credentials.one.share: expected a number, found text",
        "credentials.one.modus: unknown key; did you mean 'mode'?",
        "credentials.one: field must be another one",
    ]


def test_rules_hide_neither_each_other_nor_follow_from_what_is_wrong() -> None:
    """A real type with many: what only follows from a key that is said to be wrong is left out."""
    text = """
[sources.corp]
type = "aws"
region = "nowhere"
role_arn = "x"
external_id = "!"
policy = "no"
sso = { start_url = "https://x.example", region = "x", account_id = "1", role_name = "", foo = 1 }
[credentials.one]
source = "corp"
kind = "ssn"
parameter = "/a"
region = "x"
"""
    with pytest.raises(ConfigError) as caught:
        parse(text, PATH, REAL_TYPES, {})
    said = [line.removeprefix(f"{PATH}: ").partition(" must")[0] for line in caught.value.problems]
    assert said[0].startswith("sources.corp.sso.foo: unknown key")
    assert said[1:8] == [
        *(f"sources.corp.sso: {key}" for key in ("region", "account_id", "role_name")),
        *(f"sources.corp: {key}" for key in ("region", "external_id", "policy", "role_arn")),
    ]
    assert said[8].startswith("credentials.one.kind: expected one of")
    assert said[9:] == ["credentials.one: region"]


def test_a_table_with_problems_still_says_which_names_lead_nowhere() -> None:
    """References to credentials, members of a pool, and each of the endpoints."""
    text = """
[sources.keys]
type = "pool"
members = ["noone"]
stratgy = "x"
[sources.corp]
type = "litellm"
base_url = "no"
master_key = { credential = "nobody" }
[credentials.one]
source = "keys"
[endpoints.aws]
listen = 5
[endpoints.gcp]
listen = "127.0.0.1:0"
credential = "two"
"""
    with pytest.raises(ConfigError) as caught:
        parse(text, PATH, REAL_TYPES, {})
    said = "\n".join(caught.value.problems)
    for name in ("sources.keys.members", "sources.corp.master_key", "endpoints.gcp.credential"):
        assert f"{name}: no such credential" in said
    assert "endpoints.aws.listen: expected text" in said
