"""Key management: LiteLLM's `/key/*`, with budgets in requests and tokens."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from secrets import token_urlsafe
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from triton_adapter.errors import (
    AdapterError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
)
from triton_adapter.proxy.keys.auth import Principal, require_admin
from triton_adapter.proxy.keys.file import StoreError, TakenError
from triton_adapter.proxy.keys.key import Key, masked, seconds_of, token_id
from triton_adapter.proxy.keys.operations import Operation
from triton_adapter.proxy.keys.store import KeyStore

Json = dict[str, Any]
DEEPEST = 32


def _bounded(duration: str) -> str:
    seconds_of(duration)
    return duration


def _visible(secret: str) -> str:
    if not all("!" <= character <= "~" for character in secret):
        raise ValueError("a key holds ASCII letters, digits and signs, and no blanks")
    return secret


def _shallow(value: Any, left: int = DEEPEST) -> Any:
    if isinstance(value, (dict, list)):
        if left == 0:
            raise ValueError(f"values must not be nested more than {DEEPEST} deep")
        for item in value.values() if isinstance(value, dict) else value:
            _shallow(item, left - 1)
    return value


# The largest integer that every JSON reader keeps exact.
Positive = Annotated[int, Field(ge=1, le=2**53, strict=True)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Duration = Annotated[str, AfterValidator(_bounded)]
Metadata = Annotated[dict[str, Any], AfterValidator(_shallow)]
# A key chosen by a person must be hard to guess.
Secret = Annotated[str, Field(min_length=16, max_length=200), AfterValidator(_visible)]
# Fields of LiteLLM's keys that are counted in dollars, and what to write instead.
INSTEAD = dict.fromkeys(
    ("max_budget", "soft_budget", "budget", "spend"),
    ": costs in dollars are not counted; write request_budget or token_budget",
)


class Limits(BaseModel):
    """The properties of a key that requests may set. An absent one stays as it is, null removes it."""

    model_config = ConfigDict(extra="forbid")

    key_alias: Text | None = None
    duration: Duration | None = None
    models: list[Text] | None = None
    aliases: dict[Text, Text] | None = None
    metadata: Metadata | None = None
    blocked: Annotated[bool, Field(strict=True)] | None = None
    rpm_limit: Positive | None = None
    tpm_limit: Positive | None = None
    max_parallel_requests: Positive | None = None
    request_budget: Positive | None = None
    token_budget: Positive | None = None
    budget_duration: Duration | None = None
    user_id: Text | None = None
    team_id: Text | None = None


class NewKey(Limits):
    """A key to be made; without `key` a random one."""

    key: Secret | None = None


class ChangedKey(Limits):
    """Changes to a key, named by itself or by its token id."""

    key: Text


class RenewedKey(ChangedKey):
    """A key that gets a new secret, and changes to it; without `new_key` a random one."""

    new_key: Secret | None = None


class NamedKey(BaseModel):
    """A key, named by itself or by its token id."""

    model_config = ConfigDict(extra="forbid")
    key: Text


class NamedKeys(BaseModel):
    """Keys, named by themselves, by their token ids or by their aliases."""

    model_config = ConfigDict(extra="forbid")
    keys: list[Text] = []
    key_aliases: list[Text] = []


class KeyRoutes:
    """The handlers under `/key`. All but `info` need the master key."""

    def __init__(self, store: KeyStore, principal: Callable[[Request], Awaitable[Principal]]) -> None:
        self._store = store
        self._principal = principal

    def add_to(self, app: FastAPI) -> None:
        """Add the routes to an application."""
        managed = [Depends(self._admin)]
        for method, name in (
            ("POST", "generate"),
            ("POST", "update"),
            ("POST", "regenerate"),
            ("POST", "block"),
            ("POST", "unblock"),
            ("POST", "delete"),
            ("GET", "list"),
        ):
            app.add_api_route(f"/key/{name}", getattr(self, name), methods=[method], dependencies=managed)
        app.add_api_route("/key/info", self.info, methods=["GET"])

    async def _admin(self, request: Request) -> None:
        require_admin(await self._principal(request))

    async def generate(self, given: NewKey) -> Json:
        secret = given.key or new_secret()
        now = time.time()
        key = Key(token_id(secret), masked(secret), created_at=now)
        for name, value in _columns(given, now).items():
            setattr(key, name, value)
        key.__post_init__()
        await self._performed(self._store.creating(key))
        # The key itself is shown only here.
        return {"key": secret, **shown(key)}

    async def update(self, given: ChangedKey) -> Json:
        return await self._changed(given.key, _columns(given, time.time()))

    async def regenerate(self, given: RenewedKey) -> Json:
        """Give a key a new secret: its permissions and use stay, the old secret is refused from now on."""
        secret = given.new_key or new_secret()
        return {"key": secret, **await self._changed(given.key, _columns(given, time.time()), secret)}

    async def block(self, given: NamedKey) -> Json:
        return await self._changed(given.key, {"blocked": True})

    async def unblock(self, given: NamedKey) -> Json:
        return await self._changed(given.key, {"blocked": False})

    async def delete(self, given: NamedKeys) -> Json:
        if not given.keys and not given.key_aliases:
            raise BadRequestError("'keys' or 'key_aliases' must name a key", param="keys")
        deleting = self._store.deleting(map(identifier, given.keys), given.key_aliases)
        deleted = await self._performed(deleting)
        if not deleted:
            raise NotFoundError("There is no such key", param="keys", code="key_not_found")
        return {"deleted_keys": deleted}

    async def info(self, request: Request, key: str | None = None) -> Json:
        """Describe a key; without a name, the one that asks."""
        who = await self._principal(request)
        own = who.key.token_id if who.key is not None else None
        wanted = own if key is None else identifier(key)
        if wanted is None or wanted != own:
            if who.key is not None:
                raise PermissionDeniedError("A key may ask about itself only")
            require_admin(who)
        if wanted is None:
            raise BadRequestError("'key' must name a key", param="key", code="missing_required_parameter")
        if wanted not in self._store.keys:
            await self._store.look()
        found = self._store.keys.get(wanted)
        if found is None:
            raise _unknown()
        return {"key": found.token_id, "info": shown(found)}

    async def list(
        self,
        page: Annotated[int, Query(ge=1)] = 1,
        size: Annotated[int, Query(ge=1, le=1000)] = 100,
        key_alias: str | None = None,
        user_id: str | None = None,
        team_id: str | None = None,
        return_full_object: bool = False,
    ) -> Json:
        wanted = {"key_alias": key_alias, "user_id": user_id, "team_id": team_id}
        first, store = (page - 1) * size, self._store
        if all(value is None for value in wanted.values()):
            part, total = store.page(first, size), len(store.keys)
        else:
            keys = store.in_order()
            for name, value in wanted.items():
                if value is not None:
                    keys = [key for key in keys if getattr(key, name) == value]
            part, total = keys[first : first + size], len(keys)
        return {
            "keys": [shown(key) if return_full_object else key.token_id for key in part],
            "total_count": total,
            "current_page": page,
            "total_pages": -(-total // size),
        }

    async def _changed(self, name: str, changes: dict[str, Any], secret: str | None = None) -> Json:
        key = await self._performed(self._store.updating(identifier(name), changes, secret))
        if key is None:
            raise _unknown()
        return shown(key)

    async def _performed(self, operation: Operation) -> Any:
        try:
            return await self._store.perform(operation)
        except (TakenError, StoreError) as error:
            raise _told(error) from error


def new_secret() -> str:
    """Return a random key."""
    return f"sk-{token_urlsafe(24)}"


def _unknown() -> NotFoundError:
    return NotFoundError("There is no such key", param="key", code="key_not_found")


def identifier(name: str) -> str:
    """Return the token id of a key that is named by itself or by its token id."""
    return name if len(name) == 64 and set(name) <= set("0123456789abcdef") else token_id(name)


def shown(key: Key) -> Json:
    """Return everything about a key except the key itself."""
    return {
        "token": key.token_id,
        "token_id": key.token_id,
        "key_name": key.key_name,
        "key_alias": key.key_alias,
        "models": key.models,
        "aliases": key.aliases,
        "created_at": _when(key.created_at),
        "expires": _when(key.expires),
        "blocked": key.blocked,
        "rpm_limit": key.rpm_limit,
        "tpm_limit": key.tpm_limit,
        "max_parallel_requests": key.max_parallel_requests,
        "request_budget": key.request_budget,
        "token_budget": key.token_budget,
        "budget_duration": key.budget_duration,
        "budget_reset_at": _when(key.budget_reset_at),
        "requests_used": key.requests_used,
        "tokens_used": key.tokens_used,
        "user_id": key.user_id,
        "team_id": key.team_id,
        "metadata": key.metadata,
    }


def _columns(given: Limits, now: float) -> dict[str, Any]:
    """Return the columns that a request sets."""
    changes = given.model_dump(exclude_unset=True, exclude={"key", "new_key"})
    if "duration" in changes:
        duration = changes.pop("duration")
        changes["expires"] = None if duration is None else now + seconds_of(duration)
    if "budget_duration" in changes:
        length = changes["budget_duration"]
        changes["budget_reset_at"] = None if length is None else now + seconds_of(length)
    for name, empty in (("models", []), ("aliases", {}), ("metadata", {}), ("blocked", False)):
        if name in changes and changes[name] is None:
            changes[name] = empty
    return changes


def _told(error: Exception) -> AdapterError:
    if isinstance(error, StoreError):
        return InternalServerError(str(error))
    what = str(error)
    return BadRequestError(f"There is a key with this {what} already", param=what, code="already_exists")


def _when(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
