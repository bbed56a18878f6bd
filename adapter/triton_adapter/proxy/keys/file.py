"""The file of keys: SQLite, shared with other processes. Methods may block, so no event loop should call them."""

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from triton_adapter.proxy.keys.key import Key, seconds_of

# Seconds to wait for another process that writes.
BUSY = 5.0
COLUMNS = tuple(item.name for item in fields(Key) if item.name != "meter")
# Columns that hold JSON.
_STRUCTURED = frozenset({"models", "aliases", "metadata"})
Row = dict[str, Any]


class StoreError(Exception):
    """The key store cannot be read or written; the message says why, without a path."""


class KeyFile:
    """One file, or this process's memory if there is no path. Each method is one transaction."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._version = -1
        self._database: sqlite3.Connection | None = None
        self._guard = threading.Lock()

    @property
    def connected(self) -> bool:
        """Whether the file is open."""
        return self._database is not None

    @property
    def exists(self) -> bool:
        """Whether there is anything to read."""
        return self._database is not None or (self.path is not None and Path(self.path).exists())

    def load(self) -> list[Row] | None:
        """Return every key's columns; None if no other process has written since the last read."""
        with self._opened() as database:
            version = database.execute("PRAGMA data_version").fetchone()[0]
            if version == self._version:
                return None
            found = []
            for stored in database.execute(f"SELECT {','.join(COLUMNS)} FROM keys").fetchall():  # noqa: S608
                row = dict(zip(COLUMNS, stored, strict=True))
                for name in _STRUCTURED:
                    row[name] = json.loads(row[name])
                row["blocked"] = bool(row["blocked"])
                # Checked here, where it becomes a StoreError: elsewhere it would end the task that syncs the store.
                row.update({name: int(row[name]) for name in ("requests_used", "tokens_used")})
                if row["budget_duration"] is not None:
                    seconds_of(row["budget_duration"])
                found.append(row)
            self._version = version
            return found

    def insert(self, key: Key) -> None:
        """Write a new key."""
        marks = ",".join("?" * len(COLUMNS))
        with self._opened() as database:
            row = [_stored(name, getattr(key, name)) for name in COLUMNS]
            database.execute(f"INSERT INTO keys ({','.join(COLUMNS)}) VALUES ({marks})", row)  # noqa: S608

    def update(self, identifier: str, changes: Mapping[str, Any]) -> None:
        """Write some columns of a key."""
        assigned = ",".join(f"{name}=?" for name in changes)
        values = [_stored(name, value) for name, value in changes.items()]
        with self._opened() as database:
            database.execute(f"UPDATE keys SET {assigned} WHERE token_id=?", [*values, identifier])  # noqa: S608

    def delete(self, identifiers: Iterable[str]) -> None:
        """Delete keys."""
        with self._opened() as database:
            database.executemany("DELETE FROM keys WHERE token_id=?", [(one,) for one in identifiers])

    def add(
        self, used: Mapping[str, tuple[int, int]], begun: Mapping[str, tuple[float | None, float | None]]
    ) -> None:
        """Begin budget periods, then add the requests and tokens that keys have used.

        `begun` has the ends of the period before and of the new one. If another process has begun the period already,
        the end in the file is another, and the row is left as it is.
        """
        with self._opened() as database:
            database.executemany(
                "UPDATE keys SET requests_used=0, tokens_used=0, budget_reset_at=?"
                " WHERE token_id=? AND budget_reset_at IS ?",
                [(after, identifier, before) for identifier, (before, after) in begun.items()],
            )
            database.executemany(
                "UPDATE keys SET requests_used=requests_used+?, tokens_used=tokens_used+? WHERE token_id=?",
                [(requests, tokens, identifier) for identifier, (requests, tokens) in used.items()],
            )

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._guard:
            if self._database is not None:
                self._database.close()
                self._database = None

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open the file if necessary, and commit at the end. StoreError for SQLite's errors and for bad content."""
        with self._guard:
            try:
                database = self._database or self._open()
                with database:
                    yield database
            except (sqlite3.Error, TypeError, ValueError) as error:
                raise StoreError(
                    "the key store cannot be used; see general_settings.database_url"
                    " (a SQLite file in a folder that the proxy may write)"
                ) from error

    def _open(self) -> sqlite3.Connection:
        if self.path is not None:  # made here, so that other users of the machine cannot read it
            with suppress(OSError):
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        database = sqlite3.connect(self.path or ":memory:", timeout=BUSY, check_same_thread=False)
        columns = ",".join(name for name in COLUMNS if name != "token_id")
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute(f"CREATE TABLE IF NOT EXISTS keys (token_id TEXT PRIMARY KEY, {columns})")
        except sqlite3.Error:
            database.close()
            raise
        if self.path is not None:
            # data_version belongs to the connection, so the old value means nothing now. Without a path it is kept: the
            # new database is empty, and reading it would empty the store.
            self._version = -1
        self._database = database
        return database


def _stored(name: str, value: Any) -> Any:
    return json.dumps(value) if name in _STRUCTURED else value
