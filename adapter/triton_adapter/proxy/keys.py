"""Virtual keys: what each may do and has used, in one SQLite file. A key itself is never stored, only its SHA-256.

Every key is also held in memory, so that a request asks no database. What keys use is added up in memory and written
by `sync`, which also reads what other processes have changed in the same file.
"""

import hashlib
import json
import os
import re
import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from triton_adapter.proxy.limits import Meter

# Seconds to wait for another process that writes.
BUSY = 0.5
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "mo": 30 * 86400}
_DURATION = re.compile(r"(\d{1,9})(s|mo|m|h|d|w)")
# Columns that hold JSON.
_STRUCTURED = frozenset({"models", "aliases", "metadata"})


class StoreError(Exception):
    """The key store cannot be read or written; the message says why, without a path."""


@dataclass(slots=True)
class Key:
    """One key. Times are seconds since 1970; `models` empty: every model; budgets and limits None: any number."""

    token_id: str
    key_name: str
    key_alias: str | None = None
    models: list[str] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    created_at: float = 0.0
    expires: float | None = None
    blocked: bool = False
    rpm_limit: int | None = None
    tpm_limit: int | None = None
    max_parallel_requests: int | None = None
    request_budget: int | None = None
    token_budget: int | None = None
    budget_duration: str | None = None
    budget_reset_at: float | None = None
    requests_used: int = 0
    tokens_used: int = 0
    user_id: str | None = None
    team_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter, compare=False)

    def __post_init__(self) -> None:
        meter = self.meter
        meter.rpm, meter.tpm, meter.parallel = self.rpm_limit, self.tpm_limit, self.max_parallel_requests

    def reset_due_budget(self, now: float) -> None:
        """Begin a new budget period if the last one is over."""
        if self.budget_reset_at is None or now < self.budget_reset_at or self.budget_duration is None:
            return
        length = seconds_of(self.budget_duration)
        periods = int((now - self.budget_reset_at) // length) + 1
        self.budget_reset_at += periods * length
        self.requests_used = self.tokens_used = 0

    def allows(self, *names: str) -> bool:
        """Tell whether the key may use a model that goes by these names."""
        if not self.models:
            return True
        for allowed in self.models:
            before, star, after = allowed.partition("*")
            for name in names:
                if name == allowed or (star and name.startswith(before) and name.endswith(after)):
                    return True
        return False


_COLUMNS = tuple(item.name for item in fields(Key) if item.name != "meter")
_USED = ("requests_used", "tokens_used", "budget_reset_at")


def token_id(key: str | bytes) -> str:
    """Return the name a key goes by in the store and in answers: its SHA-256 in hex."""
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()


def masked(key: str) -> str:
    """Return a key's last four characters, enough to tell keys apart by."""
    return f"sk-...{key[-4:]}"


def seconds_of(duration: str) -> int:
    """Return the seconds of `30s`, `15m`, `12h`, `30d`, `2w` or `1mo` (30 days). ValueError if it is none of them."""
    found = _DURATION.fullmatch(duration)
    if found is None or int(found[1]) == 0:
        raise ValueError("a duration is a number and s, m, h, d, w or mo, such as 30d")
    return int(found[1]) * _UNITS[found[2]]


class KeyStore:
    """The keys of one file, or of this process alone if there is no path.

    All of it runs on the event loop: the file is local, in WAL mode, and written once a second at most by requests.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.keys: dict[str, Key] = {}
        self._used: dict[str, tuple[int, int]] = {}
        self._version = -1
        self._database: sqlite3.Connection | None = None
        if path is None or Path(path).exists():
            try:
                with _told():
                    self._load()
            except StoreError:
                self._shut()
                raise

    @property
    def connected(self) -> bool:
        return self._database is not None

    def create(self, key: Key) -> None:
        """Store a new key. ValueError if it, or its alias, is there already."""
        with _told():
            database = self._connect()
            self._load()
            if key.token_id in self.keys:
                raise ValueError("key")
            if key.key_alias and self.by_alias(key.key_alias):
                raise ValueError("key_alias")
            marks = ",".join("?" * len(_COLUMNS))
            with database:
                database.execute(f"INSERT INTO keys ({','.join(_COLUMNS)}) VALUES ({marks})", _row(key))  # noqa: S608
            self.keys[key.token_id] = key

    def update(self, identifier: str, changes: dict[str, Any]) -> Key | None:
        """Change a key's columns; None if there is no such key. ValueError if the alias is another's."""
        with _told():
            database = self._connect()
            self._load()
            key = self.keys.get(identifier)
            if key is None:
                return None
            alias = changes.get("key_alias")
            if alias and (other := self.by_alias(alias)) and other.token_id != identifier:
                raise ValueError("key_alias")
            for name, value in changes.items():
                setattr(key, name, value)
            key.__post_init__()
            assigned = ",".join(f"{name}=?" for name in changes)
            values = [_stored(name, value) for name, value in changes.items()]
            if changes:
                with database:
                    database.execute(f"UPDATE keys SET {assigned} WHERE token_id=?", [*values, identifier])  # noqa: S608
            return key

    def rename(self, identifier: str, secret: str) -> Key | None:
        """Put a new secret in the place of a key's, which is known no longer; None if there is no such key.

        ValueError if the secret is a key already.
        """
        with _told():
            database = self._connect()
            self.sync()
            key = self.keys.get(identifier)
            if key is None:
                return None
            new = token_id(secret)
            if new in self.keys:
                raise ValueError("key")
            with database:
                database.execute(
                    "UPDATE keys SET token_id=?, key_name=? WHERE token_id=?",
                    (new, masked(secret), identifier),
                )
            del self.keys[identifier]
            key.token_id, key.key_name = new, masked(secret)
            self.keys[new] = key
            return key

    def delete(self, identifiers: Iterable[str]) -> list[str]:
        """Forget keys; return those that there were."""
        with _told():
            database = self._connect()
            self._load()
            found = [identifier for identifier in identifiers if identifier in self.keys]
            with database:
                database.executemany(
                    "DELETE FROM keys WHERE token_id=?", [(identifier,) for identifier in found]
                )
            for identifier in found:
                del self.keys[identifier]
                self._used.pop(identifier, None)
            return found

    def by_alias(self, alias: str) -> Key | None:
        return next((key for key in self.keys.values() if key.key_alias == alias), None)

    def use(self, key: Key, requests: int, tokens: int) -> None:
        """Count what a key uses (or, negative, has not used after all)."""
        key.requests_used += requests
        key.tokens_used += tokens
        before = self._used.get(key.token_id, (0, 0))
        self._used[key.token_id] = (before[0] + requests, before[1] + tokens)

    def sync(self) -> None:
        """Write what was used, read what others changed, begin the budget periods that are due."""
        if self._database is None and (self.path is None or not Path(self.path).exists()):
            return
        with _told():
            database = self._connect()
            now = time.time()
            due = [
                key
                for key in self.keys.values()
                if key.budget_reset_at is not None and key.budget_reset_at <= now
            ]
            used, self._used = self._used, {}
            if used or due:
                with database:
                    database.executemany(
                        "UPDATE keys SET requests_used=requests_used+?, tokens_used=tokens_used+? WHERE token_id=?",
                        [(requests, tokens, identifier) for identifier, (requests, tokens) in used.items()],
                    )
                    for key in due:
                        before = key.budget_reset_at
                        key.reset_due_budget(now)
                        database.execute(
                            "UPDATE keys SET requests_used=0, tokens_used=0, budget_reset_at=?"
                            " WHERE token_id=? AND budget_reset_at=?",
                            (key.budget_reset_at, key.token_id, before),
                        )
            self._load()

    def close(self) -> None:
        """Write what was used and close the file."""
        self.sync()
        self._shut()

    def _shut(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _connect(self) -> sqlite3.Connection:
        if self._database is None:
            if self.path is not None:  # what is in it is nobody else's business
                with suppress(OSError):
                    os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            database = sqlite3.connect(self.path or ":memory:", timeout=BUSY, check_same_thread=False)
            columns = ",".join(name for name in _COLUMNS if name != "token_id")
            try:
                database.execute("PRAGMA journal_mode=WAL")
                database.execute("PRAGMA synchronous=NORMAL")
                database.execute(f"CREATE TABLE IF NOT EXISTS keys (token_id TEXT PRIMARY KEY, {columns})")
            except sqlite3.Error:
                database.close()
                raise
            self._database = database
        return self._database

    def _load(self) -> None:
        """Read every key, if somebody else has written since."""
        database = self._connect()
        version = database.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        rows = database.execute(f"SELECT {','.join(_COLUMNS)} FROM keys").fetchall()  # noqa: S608
        keys = {}
        for row in rows:
            values = dict(zip(_COLUMNS, row, strict=True))
            for name in _STRUCTURED:
                values[name] = json.loads(values[name])
            values["blocked"] = bool(values["blocked"])
            known = self.keys.get(values["token_id"])
            if known is None:
                keys[values["token_id"]] = Key(**values)
                continue
            pending = self._used.get(known.token_id, (0, 0))
            for name, value in values.items():
                setattr(known, name, value)
            known.requests_used += pending[0]
            known.tokens_used += pending[1]
            known.__post_init__()
            keys[known.token_id] = known
        self.keys = keys
        self._version = version


class _told:  # noqa: N801 - reads as a word in `with`
    """Turns SQLite's errors, and those of what it holds, into StoreError."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (sqlite3.Error, json.JSONDecodeError)):
            raise StoreError(
                "the key store cannot be used; see general_settings.database_url"
                " (a SQLite file in a folder that the proxy may write)"
            ) from error


def _stored(name: str, value: Any) -> Any:
    return json.dumps(value) if name in _STRUCTURED else value


def _row(key: Key) -> list[Any]:
    return [_stored(name, getattr(key, name)) for name in _COLUMNS]
