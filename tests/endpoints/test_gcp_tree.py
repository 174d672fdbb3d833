"""How metadata is shown, as Google documents it of the real server."""

from __future__ import annotations

import json

import pytest

from broker.endpoints.gcp.tree import JSON, TEXT, Misplaced, Missing, Node, find, show

TREE: Node = {
    "instance": {
        "service-accounts": {"a-b@c": {"aliases": ("default",), "email": "a-b@c", "scopes": ("x", "y"), "token": None}}
    },
    "project": {"numeric-project-id": 12, "project-id": "p"},
}
ACCOUNT = "instance/service-accounts/a-b@c/"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", "instance/\nproject/\n"),
        ("instance/service-accounts/", "a-b@c/\n"),
        (ACCOUNT, "aliases\nemail\nscopes\ntoken\n"),
        (ACCOUNT + "email", "a-b@c"),
        (ACCOUNT + "scopes", "x\ny"),
        ("project/numeric-project-id", "12"),
    ],
)
def test_a_directory_is_a_list_and_a_value_is_plain_text(path: str, body: str) -> None:
    """One name a line, a directory's with its slash; clients take nothing but application/json for JSON."""
    shown = show(find(TREE, path))
    assert (shown.body.decode(), shown.content_type) == (body, TEXT)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (ACCOUNT, {"aliases": ["default"], "email": "a-b@c", "scopes": ["x", "y"]}),
        ("project/", {"numericProjectId": 12, "projectId": "p"}),
    ],
)
def test_recursive_shows_all_that_is_below_as_json_without_any_token(path: str, value: object) -> None:
    """Names in it are written likeThis, those of accounts as they are."""
    shown = show(find(TREE, path), recursive=True)
    assert (json.loads(shown.body), shown.content_type) == (value, JSON)
    whole = json.loads(show(TREE, recursive=True).body)
    assert list(whole["instance"]["serviceAccounts"]) == ["a-b@c"]


def test_alt_chooses_the_form() -> None:
    """`alt=json` of a value, `alt=text` of a whole tree."""
    assert json.loads(show(find(TREE, ACCOUNT + "scopes"), alt="json").body) == ["x", "y"]
    assert json.loads(show(find(TREE, "project/project-id"), alt="json").body) == "p"
    assert json.loads(show(find(TREE, "project/"), alt="json").body) == ["numeric-project-id", "project-id"]
    lines = show(find(TREE, ACCOUNT), recursive=True, alt="text").body.decode()
    assert lines == "aliases/0 default\nemail a-b@c\nscopes/0 x\nscopes/1 y\n"
    assert show(find(TREE, "project/project-id"), recursive=True).body == b"p"


@pytest.mark.parametrize("path", ["project", "instance/service-accounts", ACCOUNT.rstrip("/")])
def test_a_directory_without_its_slash_is_elsewhere(path: str) -> None:
    """The real server sends clients on."""
    with pytest.raises(Misplaced):
        find(TREE, path)


@pytest.mark.parametrize(
    "path", ["nothing", "project/project-id/", "project//project-id", "project/project-id/x", "/project/", "//", ".."]
)
def test_what_is_not_there_is_missing(path: str) -> None:
    """Whatever a path looks like."""
    with pytest.raises(Missing):
        find(TREE, path)


def test_an_etag_tells_of_a_change_and_not_of_the_form() -> None:
    """So that `wait_for_change` waits for what matters."""
    node: Node = {"a": "1"}
    assert show(node).etag == show(node, recursive=True, alt="text").etag != show({"a": "2"}).etag
