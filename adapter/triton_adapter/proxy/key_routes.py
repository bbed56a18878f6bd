"""Key management: LiteLLM's `/key/*`, with budgets in requests and tokens."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from secrets import token_urlsafe
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from triton_adapter.errors import BadRequestError, InternalServerError, NotFoundError, PermissionDeniedError
from triton_adapter.proxy.auth import Principal, require_admin
from triton_adapter.proxy.keys import Key, KeyStore, StoreError, masked, seconds_of, token_id

Json = dict[str, Any]
Positive = Annotated[int, Field(ge=1, strict=True)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Duration = Annotated[str, Field(pattern=r"^[1-9]\d{0,8}(s|m|h|d|w|mo)$")]
# A key that somebody chose has to be hard to guess.
Secret = Annotated[str, Field(min_length=16, max_length=200, pattern=r"^[\x21-\x7e]+$")]


class Limits(BaseModel):
    """What may be said of a key when it is made and later. Absent leaves as it is, null takes away."""

    model_config = ConfigDict(extra="forbid")

    key_alias: Text | None = None
    duration: Duration | None = None
    models: list[Text] | None = None
    aliases: dict[Text, Text] | None = None
    metadata: dict[str, Any] | None = None
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


class NamedKey(BaseModel):
    """A key, named by itself or by its token id."""

    model_config = ConfigDict(extra="forbid")
    key: Text


class NamedKeys(BaseModel):
    """Keys, named by themselves, by their token ids or by their aliases."""

    model_config = ConfigDict(extra="forbid")
    keys: list[Text] = []
    key_aliases: list[Text] = []


def key_routes(store: KeyStore, principal: Callable[..., Principal]) -> APIRouter:
    """Return the routes under `/key`; `principal` is the dependency that tells who asks."""

    def admin(who: Annotated[Principal, Depends(principal)]) -> None:
        require_admin(who)

    router = APIRouter(prefix="/key", tags=["keys"])
    managed = [Depends(admin)]

    @router.post("/generate", dependencies=managed)
    async def generate(given: NewKey) -> Json:
        secret = given.key or f"sk-{token_urlsafe(24)}"
        now = time.time()
        key = Key(token_id(secret), masked(secret), created_at=now)
        for name, value in _columns(given, now).items():
            setattr(key, name, value)
        key.__post_init__()
        try:
            store.create(key)
        except ValueError as error:
            raise _taken(error) from error
        except StoreError as error:
            raise InternalServerError(str(error)) from error
        # The only time that anybody sees it.
        return {"key": secret, **shown(key)}

    @router.post("/update", dependencies=managed)
    async def update(given: ChangedKey) -> Json:
        return _changed(store, given.key, _columns(given, time.time()))

    @router.post("/block", dependencies=managed)
    async def block(given: NamedKey) -> Json:
        return _changed(store, given.key, {"blocked": True})

    @router.post("/unblock", dependencies=managed)
    async def unblock(given: NamedKey) -> Json:
        return _changed(store, given.key, {"blocked": False})

    @router.post("/delete", dependencies=managed)
    async def delete(given: NamedKeys) -> Json:
        if not given.keys and not given.key_aliases:
            raise BadRequestError("'keys' or 'key_aliases' must name a key", param="keys")
        found = [identifier(name) for name in given.keys]
        for alias in given.key_aliases:
            if (key := store.by_alias(alias)) is not None:
                found.append(key.token_id)
        try:
            deleted = store.delete(found)
        except StoreError as error:
            raise InternalServerError(str(error)) from error
        if not deleted:
            raise NotFoundError("There is no such key", param="keys", code="key_not_found")
        return {"deleted_keys": deleted}

    @router.get("/info")
    async def info(who: Annotated[Principal, Depends(principal)], key: str | None = None) -> Json:
        own = who.key.token_id if who.key is not None else None
        wanted = own if key is None else identifier(key)
        if wanted is None:
            require_admin(who)
            raise BadRequestError("'key' must name a key", param="key", code="missing_required_parameter")
        if wanted != own:
            if who.key is not None:
                raise PermissionDeniedError("A key may ask about itself only")
            require_admin(who)
        found = store.keys.get(wanted)
        if found is None:
            raise NotFoundError("There is no such key", param="key", code="key_not_found")
        return {"key": found.token_id, "info": shown(found)}

    @router.get("/list", dependencies=managed)
    async def list_keys(
        page: Annotated[int, Query(ge=1)] = 1,
        size: Annotated[int, Query(ge=1, le=1000)] = 100,
        key_alias: str | None = None,
        user_id: str | None = None,
        team_id: str | None = None,
        return_full_object: bool = False,
    ) -> Json:
        wanted = {"key_alias": key_alias, "user_id": user_id, "team_id": team_id}
        keys = [
            key
            for key in sorted(store.keys.values(), key=lambda key: (key.created_at, key.token_id))
            if all(value is None or getattr(key, name) == value for name, value in wanted.items())
        ]
        part = keys[(page - 1) * size : page * size]
        return {
            "keys": [shown(key) if return_full_object else key.token_id for key in part],
            "total_count": len(keys),
            "current_page": page,
            "total_pages": -(-len(keys) // size),
        }

    return router


def identifier(name: str) -> str:
    """Return the token id of a key that is named by itself or by its token id."""
    return name if len(name) == 64 and set(name) <= set("0123456789abcdef") else token_id(name)


def shown(key: Key) -> Json:
    """Return what may be seen of a key: everything but the key."""
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
    changes = given.model_dump(exclude_unset=True, exclude={"key"})
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


def _changed(store: KeyStore, name: str, changes: dict[str, Any]) -> Json:
    try:
        key = store.update(identifier(name), changes)
    except ValueError as error:
        raise _taken(error) from error
    except StoreError as error:
        raise InternalServerError(str(error)) from error
    if key is None:
        raise NotFoundError("There is no such key", param="key", code="key_not_found")
    return shown(key)


def _taken(error: ValueError) -> BadRequestError:
    what = str(error)
    return BadRequestError(f"There is a key with this {what} already", param=what, code="already_exists")


def _when(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
