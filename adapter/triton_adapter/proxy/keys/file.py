"""The file of keys: SQLite, shared with other processes. Methods may block, so no event loop should call them."""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triton_adapter.proxy.keys.key import Key, Period
from triton_adapter.proxy.keys.rows import COLUMNS, Row, decoded, read, written

# Seconds to wait for another process that writes.
BUSY = 5.0
# The largest number that is added to a key's use: SQLite's integers have 64 bits.
MOST_USED = 2**53

# The numbers of `changes` for which deleted keys are remembered at least. A process that is further behind reads all.
KEPT = 10_000

# Each row of `changes` is one key that was changed, and the larger its number, the later. So a process that shares the
# file reads what is new, and not every key each second. Triggers see the changes of every program. `pruned` has the
# number up to which deleted keys were forgotten.
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS keys (token_id TEXT PRIMARY KEY, {columns});
    CREATE INDEX IF NOT EXISTS key_aliases ON keys (key_alias) WHERE key_alias IS NOT NULL;
    CREATE TABLE IF NOT EXISTS changes (number INTEGER PRIMARY KEY AUTOINCREMENT, token_id TEXT NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS pruned (one INTEGER PRIMARY KEY, number INTEGER NOT NULL);
    CREATE TRIGGER IF NOT EXISTS key_inserted AFTER INSERT ON keys BEGIN
        INSERT OR REPLACE INTO changes (token_id) VALUES (NEW.token_id);
    END;
    CREATE TRIGGER IF NOT EXISTS key_updated AFTER UPDATE ON keys BEGIN
        INSERT OR REPLACE INTO changes (token_id) VALUES (OLD.token_id);
        INSERT OR REPLACE INTO changes (token_id) VALUES (NEW.token_id);
    END;
    CREATE TRIGGER IF NOT EXISTS key_deleted AFTER DELETE ON keys BEGIN
        INSERT OR REPLACE INTO changes (token_id) VALUES (OLD.token_id);
    END;
"""
# What the beginning of SQLite's name of an error means for whoever runs the proxy.
_REASONS = {
    "SQLITE_READONLY_DBMOVED": (
        "the file was removed, replaced or moved while the proxy ran; put it back,"
        " or restart the proxy to use what is there now"
    ),
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "the file or its folder may not be written",
    "SQLITE_BUSY": "another program holds the file",
    "SQLITE_LOCKED": "another program holds the file",
    "SQLITE_IOERR": "the disk cannot be read or written, or is full",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_NOTADB": "the file is not a SQLite file",
    "SQLITE_CANTOPEN": "the file cannot be opened",
}


class StoreError(Exception):
    """The key store cannot be read or written; the message says why, without a path."""


class TakenError(ValueError):
    """Another key has this secret or this alias. Its text is `key` or `key_alias`."""


@dataclass(slots=True)
class Changes:
    """What is new in the file: rows of keys, and the ids of keys that are gone. `whole`: the rows are all keys.

    `bad` has the rows that are no keys: their ids, the column that is wrong, and whether they are blocked.
    `position` is for `KeyFile.merged`.
    """

    whole: bool
    position: tuple[int, int]
    rows: list[Row] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    bad: dict[str, tuple[str, bool]] = field(default_factory=dict)


class KeyFile:
    """One file, or this process's memory if there is no path. Each method is one transaction."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        # What has been merged: SQLite's number for it, -1 for nothing, and the last of `changes`.
        self._version = -1
        self._number = 0
        self._database: sqlite3.Connection | None = None
        # The file that is open, and whether the last use of it succeeded.
        self._identity: tuple[int, int] | None = None
        self._works = False
        self._guard = threading.Lock()

    @property
    def connected(self) -> bool:
        """Whether the file is open and could be used the last time."""
        return self._works and self._database is not None

    @property
    def open(self) -> bool:
        """Whether the file is open."""
        return self._database is not None

    @property
    def exists(self) -> bool:
        """Whether there is anything to read."""
        return self._database is not None or (self.path is not None and Path(self.path).exists())

    def load(self) -> Changes | None:
        """Return what is new since what was `merged`, by creation; None if no other process has written."""
        names = ",".join(f"keys.{name}" for name in COLUMNS)
        with self._opened() as database:
            database.execute("BEGIN")  # all that is read belongs to one state of the file
            version = database.execute("PRAGMA data_version").fetchone()[0]
            if version == self._version:
                return None
            number, pruned = _numbers(database)
            whole = self._version < 0 or self._number < pruned
            if whole:
                stored = database.execute(
                    f"SELECT keys.token_id, {names} FROM keys ORDER BY created_at, token_id"  # noqa: S608
                )
            else:
                stored = database.execute(
                    f"SELECT changes.token_id, {names} FROM changes LEFT JOIN keys USING (token_id)"  # noqa: S608
                    " WHERE number > ? ORDER BY created_at, keys.token_id",
                    (self._number,),
                )
            changes = Changes(whole, (version, number))
            for identifier, *columns in stored:
                if columns[0] is None and not whole:
                    changes.gone.append(identifier)
                    continue
                try:
                    changes.rows.append(read(columns))
                except ValueError as error:
                    changes.bad[identifier] = str(error), bool(columns[COLUMNS.index("blocked")])
            return changes

    def merged(self, changes: Changes) -> None:
        """Note that what `load` has returned need not be returned again."""
        self._version, self._number = changes.position

    def insert(self, key: Key) -> None:
        """Write a new key. TakenError if its secret or alias is another's."""
        marks = ",".join("?" * len(COLUMNS))
        row = [written(name, getattr(key, name)) for name in COLUMNS]
        with self._opened() as database:
            _check_free(database, None, {"token_id": key.token_id, "key_alias": key.key_alias})
            database.execute(f"INSERT INTO keys ({','.join(COLUMNS)}) VALUES ({marks})", row)  # noqa: S608

    def update(self, identifier: str, changes: Mapping[str, Any]) -> None:
        """Write some columns of a key. TakenError if the new secret or alias is another's."""
        assigned = ",".join(f"{name}=?" for name in changes)
        values = [written(name, value) for name, value in changes.items()]
        with self._opened() as database:
            _check_free(database, identifier, changes)
            database.execute(f"UPDATE keys SET {assigned} WHERE token_id=?", [*values, identifier])  # noqa: S608
            if "token_id" in changes:
                _prune(database)

    def delete(self, identifiers: Iterable[str]) -> None:
        """Delete keys."""
        with self._opened() as database:
            database.executemany("DELETE FROM keys WHERE token_id=?", [(one,) for one in identifiers])
            _prune(database)

    def add(self, used: Mapping[str, tuple[int, int]], begun: Mapping[str, Period]) -> None:
        """Begin budget periods, then add the requests and tokens that keys have used.

        If another process has begun a period already, the end in the file says so, and the row is left as it is: see
        `Period.follows`.
        """
        with self._opened() as database:
            for fresh in (True, False):
                database.executemany(
                    f"UPDATE keys SET {'requests_used=0, tokens_used=0, ' if fresh else ''}budget_reset_at=?"  # noqa: S608
                    " WHERE token_id=? AND (budget_reset_at=? OR budget_reset_at<=?)",
                    [
                        (period.end, identifier, period.before, period.began)
                        for identifier, period in begun.items()
                        if period.fresh is fresh
                    ],
                )
            database.executemany(
                "UPDATE keys SET requests_used=requests_used+?, tokens_used=tokens_used+? WHERE token_id=?",
                [
                    (min(requests, MOST_USED), min(tokens, MOST_USED), identifier)
                    for identifier, (requests, tokens) in used.items()
                ],
            )

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._guard:
            if self._database is not None:
                self._database.close()
                self._database = None

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open the file if necessary, and commit at the end. StoreError for SQLite's errors."""
        with self._guard:
            try:
                database = self._database or self._open()
                if self._identity != _identity(self.path):
                    raise _moved()
                with database:
                    yield database
                self._works = True
            except sqlite3.Error as error:
                self._works = False
                raise StoreError(
                    f"the key store cannot be used: {_why(error)}; see general_settings.database_url"
                    " (a SQLite file in a folder that the proxy may write)"
                ) from error

    def _open(self) -> sqlite3.Connection:
        if self.path is not None:  # made here, so that other users of the machine cannot read it
            with suppress(OSError):
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        self._identity = _identity(self.path)
        database = sqlite3.connect(self.path or ":memory:", timeout=BUSY, check_same_thread=False)
        database.text_factory = decoded
        columns = ",".join(name for name in COLUMNS if name != "token_id")
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.executescript(_SCHEMA.format(columns=columns))
        except sqlite3.Error:
            database.close()
            raise
        if self.path is not None:
            # data_version belongs to the connection, so the old value means nothing now. Without a path it is kept: the
            # new database is empty, and reading it would empty the store.
            self._version = -1
        self._database = database
        return database


def _identity(path: str | None) -> tuple[int, int] | None:
    """Return which file is at a path, None if none is."""
    if path is None:
        return None
    try:
        found = os.stat(path)  # noqa: PTH116 - a str is what SQLite takes
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _moved() -> sqlite3.Error:
    """Return SQLite's error for a file that is no longer at its path. With a write-ahead log SQLite does not look."""
    error = sqlite3.OperationalError()
    error.sqlite_errorname = "SQLITE_READONLY_DBMOVED"
    return error


def _check_free(database: sqlite3.Connection, own: str | None, columns: Mapping[str, Any]) -> None:
    """Begin to write. TakenError if a key other than `own` has the secret or the alias of these columns.

    No constraint does this for aliases: a file that two older versions wrote may have one twice, and must open.
    """
    database.execute("BEGIN IMMEDIATE")
    for name, what in (("token_id", "key"), ("key_alias", "key_alias")):
        query = f"SELECT 1 FROM keys WHERE {name}=? AND token_id IS NOT ?"  # noqa: S608
        if columns.get(name) and database.execute(query, (columns[name], own)).fetchone():
            raise TakenError(what)


def _numbers(database: sqlite3.Connection) -> tuple[int, int]:
    """Return the last number of `changes` and the last one that was pruned."""
    last, pruned = database.execute(
        "SELECT (SELECT max(number) FROM changes), (SELECT number FROM pruned)"
    ).fetchone()
    return last or 0, pruned or 0


def _prune(database: sqlite3.Connection) -> None:
    """Forget keys that were deleted long ago. This reads all of `changes`, so it is done once in KEPT numbers."""
    last, pruned = _numbers(database)
    if last - pruned < 2 * KEPT:
        return
    gone = "NOT EXISTS (SELECT 1 FROM keys WHERE keys.token_id = changes.token_id)"
    database.execute(f"DELETE FROM changes WHERE number<=? AND {gone}", (last - KEPT,))  # noqa: S608
    database.execute("INSERT OR REPLACE INTO pruned VALUES (1, ?)", (last - KEPT,))


def _why(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    return next(
        (told for begin, told in _REASONS.items() if name.startswith(begin)), "SQLite cannot use the file"
    )
