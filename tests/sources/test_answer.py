"""How the output of a command is read, `format = "auto"`."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model import TOKEN, Issued, Kind
from broker.sources import expiry
from broker.sources.answer import BadAnswer, Shape, read
from tests.contracts.source_contract import jwt

NOW = 1_800_000_000.0
LATER = NOW + 3600
AUTO = Shape()


def seen(answer: object, shape: Shape = AUTO) -> tuple[str, float | None]:
    """Read an answer; give its token and expiry."""
    raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    issued = read(raw, shape, NOW)
    return issued.parts[TOKEN].reveal(), issued.expires_at


def problem(answer: object, shape: Shape = AUTO) -> str:
    """Read an answer that is none; give what is said of it."""
    with pytest.raises(BadAnswer) as caught:
        seen(answer, shape)
    assert "fake" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("raw", "token"),
    [
        (b"fake-1", "fake-1"),
        (b"fake-1\n", "fake-1"),
        (b"fake-1\r\n", "fake-1"),
        (b'"fake-1"', '"fake-1"'),
        (b"[1]", "[1]"),
        (b"17", "17"),
        (b"sk-ant-fake{}", "sk-ant-fake{}"),
    ],
)
def test_anything_but_an_object_is_the_token_itself(raw: bytes, token: str) -> None:
    """One newline at its end is removed, and nothing else."""
    assert seen(raw) == (token, None)


@pytest.mark.parametrize("field", ["token", "access_token", "api_key", "id_token", "value"])
def test_a_token_is_found_by_its_usual_names(field: str) -> None:
    """The names that credential tools use."""
    assert seen({field: "fake-1", "scope": "x"}) == ("fake-1", None)


def test_the_exec_credential_of_kubernetes_is_read() -> None:
    """`kubectl`'s plug-ins print it."""
    status = {"token": "fake-1", "expirationTimestamp": "2027-01-15T09:00:00Z"}
    assert seen({"kind": "ExecCredential", "status": status}) == ("fake-1", LATER)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("expires_in", 3600),
        ("expires_in", "3600"),
        ("expires_in", 3600.0),
        ("expires_at", LATER),
        ("expires_at", str(int(LATER))),
        ("expires_at", int(LATER * 1000)),
        ("expires_at", "2027-01-15T09:00:00Z"),
        ("expiry", "2027-01-15T09:00:00.123456789Z"),
        ("expiry", "2027-01-15T10:30:00+01:30"),
        ("expiration", "2027-01-15 07:00:00-0200"),
        ("Expiration", "2027-01-15t09:00:00z"),
        ("expiration_time", int(LATER)),
    ],
)
def test_an_expiry_is_found_by_its_usual_names_and_forms(field: str, value: object) -> None:
    """Seconds from now, RFC 3339 in any zone, epoch seconds or milliseconds."""
    assert seen({"token": "fake-1", field: value}) == ("fake-1", LATER)


@pytest.mark.parametrize("value", [None, "0001-01-01T00:00:00Z"])
def test_an_expiry_that_means_never_is_none(value: object) -> None:
    """`null`, and the zero time of Go's programs."""
    assert seen({"token": "fake-1", "expiry": value}) == ("fake-1", None)


def test_of_several_expiries_the_earliest_counts() -> None:
    """A cached answer repeats an old `expires_in`: trusting the later one could serve a dead token."""
    assert seen({"token": "fake-1", "expires_in": 7200, "expires_at": LATER}) == ("fake-1", LATER)


@pytest.mark.parametrize(
    "value",
    [True, "soon", "2027-01-15T09:00:00", "2027-13-15T09:00:00Z", [], {}, 1e300, 10**400, -(10**400), "9" * 17],
)
def test_an_expiry_that_cannot_be_read_is_an_error(value: object) -> None:
    """Taking it for "never" would serve a dead token; a time without its zone could be off by hours."""
    answer = {"token": "fake-1", "expires_at": value}
    assert "field expires_at" in problem(answer)
    assert "field expires_at" in problem(answer, Shape(expires_field="expires_at"))


def test_a_lifetime_beyond_all_dates_is_an_error() -> None:
    """It could not be shown, and is nonsense."""
    assert "beyond the year 9999" in problem({"token": "fake-1", "expires_in": expiry.LATEST})


@pytest.mark.parametrize("field", [{"expires_in": 0}, {"expires_in": -5}, {"expires_at": NOW - 1}, {"expires_at": 0}])
def test_a_token_that_is_dead_already_is_an_error(field: dict[str, object]) -> None:
    """Never a dead token."""
    assert "expired already" in problem({"token": "fake-1", **field})


def test_the_expiry_of_a_jwt_counts_only_where_nothing_else_says() -> None:
    """The program knows better than the token when there is more to it (a revocation, a session)."""
    token = jwt(LATER)
    assert seen(token.encode()) == (token, LATER)
    assert seen({"token": token}) == (token, LATER)
    assert seen({"token": token, "expires_in": 60}) == (token, NOW + 60)


@pytest.mark.parametrize("token", ["a.b.c", "e30.e30.", jwt(math.inf), jwt(1e300), "....", "a.b", "W10.W10.x"])
def test_what_only_looks_like_a_jwt_has_no_expiry(token: str) -> None:
    """Three parts with dots are no JWT yet."""
    assert seen(token.encode()) == (token, None)


def test_fields_of_ones_own_lead_anywhere() -> None:
    """Dotted paths through objects and lists; a small number is a lifetime (Vault's `lease_duration`)."""
    shape = Shape(token_field="data.keys.1.key", expires_field="lease_duration")
    answer = {"data": {"keys": [{}, {"key": "fake-1"}]}, "lease_duration": 3600, "token": "fake-other"}
    assert seen(answer, shape) == ("fake-1", LATER)
    assert seen({"t": "fake-1", "e": LATER}, Shape("json", "t", "e")) == ("fake-1", LATER)
    assert seen({"t": "fake-1", "e": "2027-01-15T09:00:00Z"}, Shape("auto", "t", "e")) == ("fake-1", LATER)


@pytest.mark.parametrize("path", ["nothing", "data.keys.7.key", "data.keys.-1", "data.keys.x", "data.text.x"])
def test_a_field_that_leads_nowhere_is_named(path: str) -> None:
    """For the token as for the expiry: who says where it expires wants that looked at."""
    answer = {"token": "fake-1", "data": {"keys": [{"key": "fake-2"}], "text": "fake-3"}}
    assert f"no field {path}" in problem(answer, Shape(token_field=path))
    assert f"no field {path}" in problem(answer, Shape(expires_field=path))


@pytest.mark.parametrize("answer", [b"fake-1", b"[]", b'"fake-1"', b"", b"{", b'{"token":"fake-1"', b"[" * 100_000])
def test_json_means_an_object(answer: bytes) -> None:
    """Whoever says `json` gets no half of an answer as a token."""
    assert "JSON" in problem(answer, Shape("json"))


@pytest.mark.parametrize("answer", [b'{"token":"fake-1', b"{fake-1}", b'{"a":' * 50_000])
def test_an_object_cut_off_is_no_token(answer: bytes) -> None:
    """In `auto`, too: `{"token":"fa` is what a full disk leaves, and nobody's key begins like that."""
    assert "not valid JSON" in problem(answer)


def test_text_takes_anything_as_it_is() -> None:
    """The way out for a token that looks like JSON."""
    assert seen(b'{"token":"fake-1"}', Shape("text")) == ('{"token":"fake-1"}', None)


@pytest.mark.parametrize("answer", [{}, {"error": "fake"}, {"token": None}, {"status": "fake"}])
def test_an_object_without_a_token_says_what_was_looked_for(answer: object) -> None:
    """And which key names another place."""
    assert "set token_field" in problem(answer)


@pytest.mark.parametrize("value", [17, True, ["fake-1"], {"a": "fake-1"}])
def test_a_token_is_text(value: object) -> None:
    """Nothing is made text that is none."""
    assert "field token is not text" in problem({"token": value})


def test_what_is_no_text_is_told_by_its_place() -> None:
    """Binary output is an error at a byte."""
    assert "byte 5" in problem(b"fake\xff")


def test_a_document_to_sign_in_with_is_taken_whole_and_in_one_line() -> None:
    """A service account's key has many lines, and a program that prints one prints no token; served, it is none."""
    key = {"type": "service_account", "private_key": "fake-line\nfake-line\n"}
    raw = json.dumps(key, indent=2).encode() + b"\n"
    text, expires_at = seen(raw, Shape(served=False))
    assert (json.loads(text), expires_at) == (key, None)
    assert "\n" not in text
    assert seen({"token": "fake-token"}, Shape(served=False))[0] == "fake-token"
    problem(raw)
    assert "line ends" in problem(b"{fake\nfake", Shape("text", served=False))


def aws(**changes: object) -> dict[str, object]:
    """Make AWS's process format, with changes; None leaves a key out."""
    answer: dict[str, object] = {
        "Version": 1,
        "AccessKeyId": "fake-id",
        "SecretAccessKey": "fake-key",
        "SessionToken": "fake-session",
        "Expiration": "2027-01-15T09:00:00Z",
        "AccountId": "123456789012",
    }
    return {key: value for key, value in (answer | changes).items() if value is not None}


def aws_seen(**changes: object) -> Issued:
    """Read it."""
    return read(json.dumps(aws(**changes)).encode(), AUTO, NOW)


def test_aws_process_format_gives_a_session() -> None:
    """With its parts, its expiry and the account as a detail that may be shown."""
    issued = aws_seen()
    assert issued.kind is Kind.AWS_SESSION
    assert {name: part.reveal() for name, part in issued.parts.items()} == {
        "access_key_id": "fake-id",
        "secret_access_key": "fake-key",
        "session_token": "fake-session",
    }
    assert issued.expires_at == LATER
    assert issued.details == {"account_id": "123456789012"}


def test_static_keys_of_aws_need_no_session() -> None:
    """Session token, expiry and account may be missing."""
    issued = aws_seen(SessionToken=None, Expiration=None, AccountId=None)
    assert (set(issued.parts), issued.expires_at, issued.details) == ({"access_key_id", "secret_access_key"}, None, {})


def test_an_account_that_is_none_is_not_shown() -> None:
    """Details are shown in `status`: a secret that stands there by mistake must not be."""
    assert aws_seen(AccountId="fake-secret").details == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Version": 2}, "Version is not 1"),
        ({"Version": None}, "Version is not 1"),
        ({"Version": True}, "Version is not 1"),
        ({"Version": "1"}, "Version is not 1"),
        ({"SecretAccessKey": None}, "no field SecretAccessKey"),
        ({"SecretAccessKey": 17}, "SecretAccessKey is not text"),
        ({"SessionToken": "fake\n"}, "session_token has blanks"),
        ({"AccessKeyId": ""}, "access_key_id is empty"),
        ({"Expiration": "soon"}, "field Expiration"),
        ({"Expiration": "2020-01-01T00:00:00Z"}, "expired already"),
    ],
)
def test_aws_process_format_is_read_strictly(changes: dict[str, object], words: str) -> None:
    """Another version may mean something else by the same keys."""
    assert words in problem(aws(**changes))


SHAPES = st.builds(
    Shape,
    st.sampled_from(["auto", "text", "json"]),
    st.sampled_from([None, "token", "a.b", "status.token"]),
    st.sampled_from([None, "expires_at", "a.c"]),
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["token", "status", "a", "b", "c", "expires_in", "expires_at", "Expiration", "Version", "AccessKeyId"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()), SHAPES)
def test_whatever_is_read_gives_a_credential_or_this_one_error(raw: bytes, shape: Shape) -> None:
    """No output of a program gets past this as another exception, and no dead credential either."""
    try:
        issued = read(raw, shape, NOW)
    except BadAnswer as error:
        assert str(error).isprintable()  # noqa: PT017  # either outcome is right
    else:
        assert issued.expires_at is None or NOW < issued.expires_at <= expiry.LATEST


@given(st.dictionaries(st.sampled_from(["token", "expires_at", "expires_in", "AccessKeyId", "x"]), st.text(min_size=8)))
def test_no_value_is_ever_in_the_error(answer: dict[str, str]) -> None:
    """Whatever stands in an answer may be a secret in the wrong place."""
    marked = {key: f"<<{value}>>" for key, value in answer.items()}
    try:
        read(json.dumps(marked).encode(), AUTO, NOW)
    except BadAnswer as error:
        assert not any(value in str(error) for value in marked.values())  # noqa: PT017  # either outcome is right
