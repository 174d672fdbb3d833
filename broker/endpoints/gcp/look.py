"""What one request to the metadata server asks for, as it is at this moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from broker.endpoints.gcp.accounts import Accounts, Facts
from broker.endpoints.gcp.tree import Node, Shown, etag, find, show
from broker.engine.advice import room_s
from broker.errors import BadRequest
from broker.model import TOKEN, Kind
from broker.service.admission import Caller
from broker.service.broker import Broker, Served
from broker.service.keeper import Keeper
from broker.sources.interface import Wish

ROOT: Final = "/computeMetadata/v1/"

REMAINING_S: Final = 360.0
"""So much life is left when handed out: clients ask again 5 min (Node) or 3:45 min (Python) before a token's end."""
DEADLINE_S: Final = 2.5
UNENDING_S: Final = 600
"""What is said of a token without an end: clients ask for it again before this is over."""

_ACCOUNTS: Final = "instance/service-accounts/"
_UNIVERSE: Final = "googleapis.com"
_WAY_DOWN: Final[Node] = {"computeMetadata": {"v1": {"instance": {}, "project": {}, "universe": {}}}}
"""Clients knock at "/"."""


class Look:
    """One path and query, asked by one caller; looked at again where somebody waits for a change."""

    def __init__(self, broker: Broker, accounts: Accounts, asker: Caller, path: str, query: Mapping[str, str]) -> None:
        """Look at nothing yet. Raises `BadRequest`."""
        self._broker = broker
        self._accounts = accounts
        self._asker = asker
        self._path = path
        self._query = query
        self._recursive = query.get("recursive", "false").lower() == "true"
        self._alt = query.get("alt")
        if self._alt not in {None, "json", "text"}:
            raise BadRequest("alt: expected json or text")

    async def __call__(self) -> Shown:
        """Return what is there. Raises `Missing`, `Misplaced`, and what `Broker.token` raises."""
        if not self._path.startswith(ROOT):
            return self._shown(find(_WAY_DOWN, self._path.removeprefix("/")))
        path = self._path.removeprefix(ROOT)
        if path == "instance":
            path = "instance/"  # where Claude Code and gcp-metadata knock: answered at once, though it is a directory
        account, _, leaf = path.removeprefix(_ACCOUNTS).partition("/")
        if path.startswith(_ACCOUNTS) and leaf == "token":
            return await self._token(account)
        if path.startswith(_ACCOUNTS) and leaf == "identity":
            return await self._identity(account)
        return self._shown(find(await self._tree(path), path))

    def _shown(self, node: Node) -> Shown:
        return show(node, recursive=self._recursive, alt=self._alt)

    # --- what is no secret --------------------------------------------------------------------------------------

    async def _tree(self, path: str) -> Node:
        """Build the tree; of what has to be learnt from a source only the part that is asked for."""
        accounts: Node = {}
        project: dict[str, Node] = {}
        universe = _UNIVERSE
        if self._is_asked_for(_ACCOUNTS, path):
            account = path.removeprefix(_ACCOUNTS).partition("/")[0] if path.startswith(_ACCOUNTS) else ""
            accounts = await (self._accounts.one(account, self._learn) if account else self._accounts.all(self._learn))
        if self._is_asked_for("project/", path) or self._is_asked_for("universe/", path):
            facts = await self._learn(self._accounts.default())
            universe = facts.get("universe_domain", universe)
            project = _project(facts)
        return {
            "instance": {"service-accounts": accounts},
            "project": project,
            "universe": {"universe-domain": universe, "universe_domain": universe},
        }

    def _is_asked_for(self, branch: str, path: str) -> bool:
        return path.startswith(branch) or (self._recursive and branch.startswith(path))

    async def _learn(self, credential: str) -> Facts:
        asker = replace(self._asker, wants=self._accounts.kind(credential))
        return await self._broker.details(credential, DEADLINE_S, asker)

    # --- what is ------------------------------------------------------------------------------------------------

    async def _token(self, account: str) -> Shown:
        credential = await self._accounts.find(account, self._learn)
        scopes = tuple(self._query.get("scopes", "").replace(",", " ").split())
        wish = Wish(scopes=scopes) if scopes and self._accounts.can_wish(credential) else None
        served = await self._serve(credential, wish, self._accounts.kind(credential))
        answer: Node = {
            "access_token": text(served),
            "expires_in": UNENDING_S if served.expires_in_s is None else served.expires_in_s,
            "token_type": "Bearer",
        }
        shown = show(answer, recursive=True, alt=self._alt)
        return Shown(shown.body, shown.content_type, etag(served.fingerprint))

    async def _identity(self, account: str) -> Shown:
        """Give an ID token; `format` and `licenses` would add what Google knows of a machine of its own: of this, nothing."""
        audience = self._query.get("audience")
        if not audience:
            raise BadRequest("identity: expected audience=, the service that the ID token is for, such as its URL")
        credential = await self._accounts.find(account, self._learn)
        return show(text(await self._serve(credential, Wish(target_audience=audience), Kind.ID_TOKEN)))

    async def _serve(self, credential: str, wish: Wish | None, kind: Kind | None) -> Served:
        ttl_s = wanted_life_s(self._broker.keeper(credential))
        return await self._broker.token(
            credential, ttl_s, DEADLINE_S, replace(self._asker, wants=kind), wish, single=True
        )


def wanted_life_s(keeper: Keeper) -> float:
    """Return the TTL to ask for: `REMAINING_S` in all, or of a shorter token what leaves it half its life."""
    held = keeper.life.held
    short = held is not None and room_s(held.lifetime_s) < REMAINING_S
    wanted_s = held.lifetime_s / 2 if held is not None and short else REMAINING_S
    return max(0.0, wanted_s - keeper.life.timing.min_validity_s)


def text(served: Served) -> str:
    """Return the token, which was asked for as a single one."""
    return served.held.issued.parts[TOKEN].reveal()


def _project(facts: Facts) -> dict[str, Node]:
    """Show what is known of the project."""
    found: dict[str, Node] = {}
    if project := facts.get("project_id"):
        found["project-id"] = project
    number = facts.get("project_number", "")
    if number.isascii() and number.isdigit():
        found["numeric-project-id"] = int(number)
    return found
