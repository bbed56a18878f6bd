"""The rows of the file of keys: how a key becomes columns, and which columns are a key."""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import orjson

from triton_adapter.proxy.keys.key import Key, seconds_of

COLUMNS = tuple(item.name for item in fields(Key) if item.name != "meter")
# The first second of the year 10000, since 1970: no later time can be shown.
NEVER = 253_402_300_800
Row = dict[str, Any]
Read = Callable[[Any], Any]


def written(name: str, value: Any) -> Any:
    """Return what a column of the file holds for a value of a key."""
    return json.dumps(value) if name in ("models", "aliases", "metadata") else value


def read(stored: Sequence[Any]) -> Row:
    """Return the columns of a key as its values. ValueError names the first column that no key can have.

    Any program may write the file. A value that is let in here could fail wherever it is used.
    """
    row: Row = {}
    for name, value in zip(COLUMNS, stored, strict=True):
        try:
            row[name] = _READ[name](value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(name) from error
    return row


def decoded(text: bytes) -> str | bytes:
    """Return a text of the file. One that is not UTF-8 stays bytes, which no column may have."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _seconds(value: Any) -> float:
    if not 0 <= value < NEVER:
        raise ValueError
    return float(value)


def _integer(value: Any) -> int:
    if value != int(value):
        raise ValueError
    return int(value)


def _duration(value: Any) -> str:
    seconds_of(_text(value))
    return _text(value)


def _texts(value: Any) -> list[str]:
    found = orjson.loads(_text(value))
    if not isinstance(found, list):
        raise TypeError
    return [_text(item) for item in found]


def _object(value: Any) -> dict[str, Any]:
    found = orjson.loads(_text(value))
    if not isinstance(found, dict):
        raise TypeError
    return found


def _aliases(value: Any) -> dict[str, str]:
    return {name: _text(model) for name, model in _object(value).items()}


def _optional(inner: Read) -> Read:
    return lambda value: None if value is None else inner(value)


_READ: dict[str, Read] = {
    "token_id": _text,
    "key_name": _text,
    "key_alias": _optional(_text),
    "models": _texts,
    "aliases": _aliases,
    "created_at": _seconds,
    "expires": _optional(_seconds),
    "blocked": bool,  # whatever is written there blocks the key
    "rpm_limit": _optional(_integer),
    "tpm_limit": _optional(_integer),
    "max_parallel_requests": _optional(_integer),
    "request_budget": _optional(_integer),
    "token_budget": _optional(_integer),
    "budget_duration": _optional(_duration),
    "budget_reset_at": _optional(_seconds),
    "requests_used": _integer,
    "tokens_used": _integer,
    "user_id": _optional(_text),
    "team_id": _optional(_text),
    "metadata": _object,
}
