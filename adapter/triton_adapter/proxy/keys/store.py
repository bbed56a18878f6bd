"""The key store: every key in memory, so that no valid request waits for a database, and a file that keeps them.

Theory of operation
-------------------

Memory. `keys` has every key by its token id. Requests read and count there, on the event loop, without a lock and
without waiting. Only a secret that would be refused waits for a `look` into the file. The file is SQLite; several
proxies may share it.

Operations. What touches the file is an operation: a generator that yields calls of `KeyFile` and does the rest itself.
`perform` makes these calls in the store's one thread, because another process may hold the file's lock for seconds, and
runs the rest on the event loop; `run` does everything in the calling thread. An operation changes the file first and
memory after it, so that an operation that fails changes neither.

The queue. Operations run one at a time, in the order in which they were asked for: each is a task that waits for
`_turn`. A client that leaves does not stop its operation, which would leave the file and memory different.

Rows. Other programs may write the file too. A row that is no key is left out and logged. If its key is in memory, the
key stays as it last was, unless the row blocks it.

Periods. A budget period is noted with its end before, so that of several processes the first begins it in the file and
the others find it begun: `Period.follows`.

Use. `use` and `begin_due_period` change the key in memory and note the change in `_used` and `_begun`. `syncing`, which
the proxy performs every second, takes these notes and adds them to the file ("used + 3", never "used = 7"), so that the
use in several processes adds up. Then it reads the file, if another process has written to it since, and adds to
each row what has been noted in the meantime.

What is lost, and when
----------------------

- The process is killed: the use since the last `syncing`. A stop in good order writes it.
- The file cannot be written: nothing. The notes are kept for the next `syncing`; changes of keys are refused. What
  others have changed is still read. If it still cannot be written when the process stops, because another program holds
  it for longer than `BUSY` or because the disk is full: the use that is noted. The log says so.
- The file is removed, replaced or moved: all that it held, unless it is put back. It is not written where it is now,
  and what is there instead is not read before the next start.
- The power fails: SQLite may lose the last transactions, but the file stays consistent (WAL, synchronous=NORMAL).
- Another process deletes or renames a key: the use of it that is noted here.
- A row's use is no number: the use of that key until the row is mended.
- Several processes: a change is seen elsewhere after the next `syncing`, or after a `look`, which comes before a secret
  is refused. Until then each process checks a budget without the others' use. So a budget can be exceeded: `NEAR` says
  by how much.
"""

import asyncio
import logging
import time
from bisect import bisect_left, insort
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from triton_adapter.proxy.keys.file import Changes, KeyFile, StoreError, TakenError
from triton_adapter.proxy.keys.key import Key, Period, masked, token_id
from triton_adapter.proxy.keys.operations import Operation, driven, run
from triton_adapter.proxy.keys.rows import Row

log = logging.getLogger("triton_proxy")
# The unwritten use of a key is written at once when it is more than a NEAR-th part of what is left of a budget. So each
# further process can exceed a budget by such a part of it, and by what it uses while the others write.
NEAR = 16
# Rows that are merged before other work has its turn.
BATCH = 500


class KeyStore:
    """The keys of one file, or of this process alone if there is no path."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.keys: dict[str, Key] = {}
        self._file = KeyFile(path)
        # The rows of the file that are no keys: their ids, and the column that is wrong.
        self._bad: dict[str, str] = {}
        # What the file does not have yet, by token id: the requests and tokens used, and the budget periods begun (the
        # end of the period before it, and its own end).
        self._used: dict[str, tuple[int, int]] = {}
        self._begun: dict[str, Period] = {}
        # The creation and the id of each key, in order.
        self._order: list[tuple[float, str]] = []
        # The earliest end of a budget period, and when periods were last looked at: seconds since 1970.
        self._next_end = float("-inf")
        self._looked = float("-inf")
        self._urgent = asyncio.Event()
        self._thread: ThreadPoolExecutor | None = None
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        # The look into the file that has not begun yet.
        self._look: asyncio.Task[Any] | None = None
        if path is None or self._file.exists:
            try:
                run(self._loading())
            except StoreError:
                self._file.close()
                raise

    def __repr__(self) -> str:
        state = "OPEN" if self._file.open else "CLOSED"
        unwritten = len(self._used.keys() | self._begun.keys())
        count = f"{len(self.keys)} key{'' if len(self.keys) == 1 else 's'}, {unwritten} with unwritten use"
        return f"<KeyStore {self.path or 'in memory'} [{state}, {count}, {len(self._tasks)} operations]>"

    @property
    def connected(self) -> bool:
        """Whether the file is open and could be used the last time."""
        return self._file.connected

    # --- for requests

    def by_alias(self, aliases: Iterable[str]) -> list[Key]:
        """Return the keys that have one of these aliases."""
        wanted = set(aliases)
        return [key for key in self.keys.values() if key.key_alias in wanted]

    async def look(self) -> None:
        """Read what other processes have changed until now. If the file cannot be read, `keys` stays as it is.

        However many callers wait, one look runs and one waits for its turn. A look at an unchanged file reads SQLite's
        number of its state and no row.
        """
        if self.path is None:
            return
        if self._look is None:
            self._look = asyncio.create_task(self.perform(self._looking()))
        await asyncio.shield(self._look)

    def page(self, first: int, size: int) -> list[Key]:
        """Return some of the keys, in the order of their creation."""
        return [self.keys[identifier] for _, identifier in self._order[first : first + size]]

    def in_order(self) -> list[Key]:
        """Return every key, in the order of their creation."""
        return self.page(0, len(self._order))

    def use(self, key: Key, requests: int, tokens: int) -> None:
        """Count what a key uses (or, negative, has not used after all)."""
        key.requests_used += requests
        key.tokens_used += tokens
        before = self._used.get(key.token_id, (0, 0))
        unwritten = self._used[key.token_id] = (before[0] + requests, before[1] + tokens)
        if (
            key.request_budget is not None and unwritten[0] * NEAR > key.request_budget - key.requests_used
        ) or (key.token_budget is not None and unwritten[1] * NEAR > key.token_budget - key.tokens_used):
            self._urgent.set()

    async def due(self, seconds: float) -> None:
        """Wait until the store should be synced: for so many seconds, or until a budget needs it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._urgent.wait()
        self._urgent.clear()

    def begin_due_period(self, key: Key, now: float) -> None:
        """Begin a key's new budget period, with nothing used, if the last one is over. `now` is seconds since 1970."""
        period = key.begin_due_period(now)
        if period is None:
            return
        noted = self._begun.get(key.token_id)
        if noted is not None:
            period = noted.then(period)
        self._begun[key.token_id] = period
        if period.fresh and key.requests_used == key.tokens_used == 0:
            self._used.pop(key.token_id, None)

    # --- operations

    def creating(self, key: Key) -> Operation:
        """Store a new key. TakenError if it, or its alias, is there already."""
        yield from self._loading()
        if key.token_id in self.keys:
            raise TakenError("key")
        yield partial(self._file.insert, key)
        self._hold(key)

    def updating(self, identifier: str, changes: dict[str, Any], secret: str | None = None) -> Operation:
        """Change a key's columns, and its secret if one is given; return the key, None if there is no such key.

        TakenError if the secret is in use or the alias is another key's.
        """
        yield from self._loading()
        self._refuse_bad(identifier)
        key = self.keys.get(identifier)
        if key is None:
            return None
        if secret is not None:
            if token_id(secret) in self.keys:
                raise TakenError("key")
            changes = {**changes, "token_id": token_id(secret), "key_name": masked(secret)}
        columns = changes
        if "budget_reset_at" in changes:
            self.begin_due_period(key, time.time())
            if (begun := self._begun.get(identifier)) is not None and begun.fresh:
                columns = {**changes, "requests_used": 0, "tokens_used": 0}  # in the file
        if changes:
            yield partial(self._file.update, identifier, columns)
        if "budget_reset_at" in changes:
            self._begun.pop(identifier, None)
        if secret is not None:
            self._rename(key, token_id(secret))
        self._set(key, changes)
        return key

    def deleting(self, identifiers: Iterable[str], aliases: Collection[str] = ()) -> Operation:
        """Delete the keys that have one of these ids or aliases; return the ids of those that existed."""
        yield from self._loading()
        aliased = (key.token_id for key in self.by_alias(aliases)) if aliases else ()
        wanted = dict.fromkeys((*identifiers, *aliased))
        found = [one for one in wanted if one in self.keys or one in self._bad]
        yield partial(self._file.delete, found)
        for identifier in found:
            self._forget(identifier)
        return found

    def syncing(self) -> Operation:
        """Write what was used, read what others changed, begin the budget periods that are due."""
        if not self._file.exists:
            return
        self._begin_due_periods(time.time())
        used, self._used = self._used, {}
        begun, self._begun = self._begun, {}
        failed: Exception | None = None
        if used or begun:
            try:
                yield partial(self._file.add, used, begun)
            except Exception as error:  # noqa: BLE001 - whatever it is, the use stays noted and the file is read
                self._keep(used, begun)
                failed = error
        yield from self._loading()  # a key may have been blocked elsewhere, whether or not the file can be written
        if failed is not None:
            raise failed

    def _looking(self) -> Operation:
        self._look = None  # who comes from now on needs another look: the file may change after this one
        if self._file.exists:
            with suppress(StoreError):  # `syncing` logs it
                yield from self._loading()

    # --- running operations

    async def perform(self, operation: Operation) -> Any:
        """Run an operation: one at a time, and to its end even if the caller is cancelled."""
        task = asyncio.create_task(self._performed(operation))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def _performed(self, operation: Operation) -> Any:
        async with self._turn:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "triton-proxy-keys")
            loop = asyncio.get_running_loop()
            return await driven(operation, partial(loop.run_in_executor, self._thread))

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the caller gets the error; without one nobody needs it

    async def aclose(self) -> None:
        """Write what was used and close the file, after the running operation."""
        try:
            await self.perform(self.syncing())
        finally:
            if self._thread is not None:
                self._thread.shutdown()
                self._thread = None
            self._file.close()
            # For another event loop, which may use the store after this one.
            self._turn, self._urgent, self._look = asyncio.Lock(), asyncio.Event(), None

    def close(self) -> None:
        """Close a store that no event loop uses."""
        try:
            run(self.syncing())
        finally:
            self._file.close()

    # --- memory

    def _loading(self) -> Operation:
        changes: Changes | None = yield self._file.load
        if changes is None:
            return
        if changes.whole:
            there = {row["token_id"] for row in changes.rows} | changes.bad.keys()
            changes.gone = [one for one in (*self.keys, *self._bad) if one not in there]
        for identifier in changes.gone:
            self._forget(identifier)
        for identifier, (column, blocked) in changes.bad.items():
            self._skip(identifier, column, blocked=blocked)
        for first in range(0, len(changes.rows), BATCH):
            if first:
                yield _nothing  # other work of the event loop has its turn
            for row in changes.rows[first : first + BATCH]:
                self._merge(row)
        self._file.merged(changes)

    def _skip(self, identifier: str, column: str, *, blocked: bool) -> None:
        """Leave out a row that is no key. A key that is in memory stays as it last was, but a block counts."""
        if blocked and (known := self.keys.get(identifier)) is not None:
            known.blocked = True
        if self._bad.get(identifier) != column:
            log.warning(
                "a row of the key store is skipped: its %s has a value that no key can have;"
                " mend or delete the row %.64s",
                column,
                identifier,
            )
        self._bad[identifier] = column

    def _refuse_bad(self, identifier: str) -> None:
        if (column := self._bad.get(identifier)) is not None:
            raise StoreError(
                f"the key store cannot be used for this key: its {column} has a value there that no key can have;"
                " mend or delete the row"
            )

    def _merge(self, row: Row) -> None:
        """Merge a row of the file with what is not in the file yet."""
        identifier = row["token_id"]
        self._bad.pop(identifier, None)
        begun = self._begun.get(identifier)
        if begun is not None and begun.follows(row["budget_reset_at"]):
            row["budget_reset_at"] = begun.end
            if begun.fresh:
                row["requests_used"] = row["tokens_used"] = 0
        else:  # another process has begun this period, or changed its end
            self._begun.pop(identifier, None)
        requests, tokens = self._used.get(identifier, (0, 0))
        row["requests_used"] += requests
        row["tokens_used"] += tokens
        known = self.keys.get(identifier)
        if known is None:
            self._hold(Key(**row))
        else:
            row["created_at"] = known.created_at  # which `_order` has
            self._set(known, row)

    def _hold(self, key: Key) -> None:
        """Take in a key that is not in memory."""
        self.keys[key.token_id] = key
        place = (key.created_at, key.token_id)
        if not self._order or self._order[-1] < place:  # they come in this order from the file
            self._order.append(place)
        else:
            insort(self._order, place)
        self._set(key, {})

    def _set(self, key: Key, columns: dict[str, Any]) -> None:
        """Change columns of a key in memory."""
        for name, value in columns.items():
            setattr(key, name, value)
        key.__post_init__()
        if key.budget_reset_at is not None and key.budget_reset_at < self._next_end:
            self._next_end = key.budget_reset_at

    def _drop(self, identifier: str) -> None:
        """Take a key out of memory, but not what it has used."""
        key = self.keys.pop(identifier)
        del self._order[bisect_left(self._order, (key.created_at, identifier))]

    def _rename(self, key: Key, new: str) -> None:
        """Give a key another id, with what it has used."""
        old = key.token_id
        self._drop(old)
        key.token_id = new
        self._hold(key)
        if old in self._used:
            self._used[new] = self._used.pop(old)
        if old in self._begun:
            self._begun[new] = self._begun.pop(old)

    def _forget(self, identifier: str) -> None:
        """Take what is known of a key out of memory."""
        if identifier in self.keys:
            self._drop(identifier)
        self._bad.pop(identifier, None)
        self._used.pop(identifier, None)
        self._begun.pop(identifier, None)

    def _begin_due_periods(self, now: float) -> None:
        """Begin the periods that are due; look at the keys only if one is, or if the clock was set back."""
        if self._looked <= now < self._next_end:
            self._looked = now
            return
        self._looked, self._next_end = now, float("inf")
        for key in self.keys.values():
            if key.budget_reset_at is not None:
                self.begin_due_period(key, now)
                self._next_end = min(self._next_end, key.budget_reset_at)

    def _keep(self, used: dict[str, tuple[int, int]], begun: dict[str, Period]) -> None:
        """Keep what could not be written."""
        for identifier, (requests, tokens) in used.items():
            if not (identifier in self._begun and self._begun[identifier].fresh):
                now = self._used.get(identifier, (0, 0))
                self._used[identifier] = (now[0] + requests, now[1] + tokens)
        for identifier, period in begun.items():
            self._begun[identifier] = period.then(self._begun.get(identifier, period))


def _nothing() -> None:
    """Let the event loop do other work: a call of the file that does nothing."""
