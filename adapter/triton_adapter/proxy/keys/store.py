"""The key store: every key in memory, so that no request waits for a database, and a file that keeps them.

Theory of operation
-------------------

Memory. `keys` has every key by its token id. Requests read and count there, on the event loop, without a lock and
without waiting. The file is SQLite; several proxies may share it.

Operations. What touches the file is an operation: a generator that yields calls of `KeyFile` and does the rest itself.
`perform` makes these calls in the store's one thread, because another process may hold the file's lock for seconds, and
runs the rest on the event loop; `run` does everything in the calling thread. An operation changes the file first and
memory after it, so that an operation that fails changes neither.

The queue. Operations run one at a time, in the order in which they were asked for: each is a task that waits for
`_turn`. A client that leaves does not stop its operation, which would leave the file and memory different.

Use. `use` and `begin_due_period` change the key in memory and note the change in `_used` and `_begun`. `syncing`, which
the proxy performs every second, takes these notes and adds them to the file ("used + 3", never "used = 7"), so that the
use in several processes adds up. Then it reads the file, if another process has written to it since, and adds to
each row what has been noted in the meantime.

What is lost, and when
----------------------

- The process is killed: the use since the last `syncing`. A stop in good order writes it.
- The file cannot be written: nothing. The notes are kept for the next `syncing`; changes of keys are refused.
- The power fails: SQLite may lose the last transactions, but the file stays consistent (WAL, synchronous=NORMAL).
- Another process deletes or renames a key: the use of it that is noted here.
- Several processes: a change is seen elsewhere after the next `syncing`. Until then each process checks a budget
  without the others' use, so that a budget can be exceeded by about a second's use in each of them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from triton_adapter.proxy.keys.file import KeyFile, Row, StoreError
from triton_adapter.proxy.keys.key import Key, masked, token_id

Work = Callable[[], Any]
Operation = Generator[Work, Any, Any]


class KeyStore:
    """The keys of one file, or of this process alone if there is no path."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.keys: dict[str, Key] = {}
        self._file = KeyFile(path)
        # What the file does not have yet, by token id: the requests and tokens used, and the budget periods begun (the
        # end of the period before it, and its own end).
        self._used: dict[str, tuple[int, int]] = {}
        self._begun: dict[str, tuple[float | None, float | None]] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        if path is None or self._file.exists:
            try:
                run(self._loading())
            except StoreError:
                self._file.close()
                raise

    def __repr__(self) -> str:
        state = "OPEN" if self.connected else "CLOSED"
        unwritten = len(self._used.keys() | self._begun.keys())
        count = f"{len(self.keys)} key{'' if len(self.keys) == 1 else 's'}, {unwritten} with unwritten use"
        return f"<KeyStore {self.path or 'in memory'} [{state}, {count}, {len(self._tasks)} operations]>"

    @property
    def connected(self) -> bool:
        """Whether the file is open."""
        return self._file.connected

    # --- for requests

    def by_alias(self, alias: str) -> Key | None:
        """Return the key of an alias."""
        return next((key for key in self.keys.values() if key.key_alias == alias), None)

    def use(self, key: Key, requests: int, tokens: int) -> None:
        """Count what a key uses (or, negative, has not used after all)."""
        key.requests_used += requests
        key.tokens_used += tokens
        before = self._used.get(key.token_id, (0, 0))
        self._used[key.token_id] = (before[0] + requests, before[1] + tokens)

    def begin_due_period(self, key: Key, now: float) -> None:
        """Begin a key's new budget period, with nothing used, if the last one is over. `now` is seconds since 1970."""
        before = key.budget_reset_at
        if key.reset_due_budget(now):
            self._begun[key.token_id] = (
                self._begun.get(key.token_id, (before, None))[0],
                key.budget_reset_at,
            )
            self._used.pop(key.token_id, None)

    # --- operations

    def creating(self, key: Key) -> Operation:
        """Store a new key. ValueError if it, or its alias, is there already."""
        yield from self._loading()
        if key.token_id in self.keys:
            raise ValueError("key")
        if key.key_alias and self.by_alias(key.key_alias):
            raise ValueError("key_alias")
        yield partial(self._file.insert, key)
        self.keys[key.token_id] = key

    def updating(self, identifier: str, changes: dict[str, Any]) -> Operation:
        """Change a key's columns and return it; None if there is no such key. ValueError if the alias is another's."""
        yield from self._loading()
        key = self.keys.get(identifier)
        if key is None:
            return None
        alias = changes.get("key_alias")
        if alias and (other := self.by_alias(alias)) and other is not key:
            raise ValueError("key_alias")
        if changes:
            yield partial(self._file.update, identifier, changes)
        for name, value in changes.items():
            setattr(key, name, value)
        if "budget_reset_at" in changes and identifier in self._begun:
            # The period has begun already. Only its end changes, and that has just been written.
            self._begun[identifier] = (changes["budget_reset_at"], changes["budget_reset_at"])
        key.__post_init__()
        return key

    def renaming(self, identifier: str, secret: str) -> Operation:
        """Replace a key's secret; return the key, None if there is no such key. ValueError if the secret is in use."""
        yield from self.syncing()
        key = self.keys.get(identifier)
        if key is None:
            return None
        new = token_id(secret)
        if new in self.keys:
            raise ValueError("key")
        yield partial(self._file.update, identifier, {"token_id": new, "key_name": masked(secret)})
        self.keys[new] = self.keys.pop(identifier)
        key.token_id, key.key_name = new, masked(secret)
        if identifier in self._used:
            self._used[new] = self._used.pop(identifier)
        if identifier in self._begun:
            self._begun[new] = self._begun.pop(identifier)
        return key

    def deleting(self, identifiers: Iterable[str]) -> Operation:
        """Delete keys; return those that existed."""
        yield from self._loading()
        found = [identifier for identifier in identifiers if identifier in self.keys]
        yield partial(self._file.delete, found)
        for identifier in found:
            del self.keys[identifier]
            self._used.pop(identifier, None)
            self._begun.pop(identifier, None)
        return found

    def syncing(self) -> Operation:
        """Write what was used, read what others changed, begin the budget periods that are due."""
        if not self._file.exists:
            return
        now = time.time()
        for key in self.keys.values():
            self.begin_due_period(key, now)
        used, self._used = self._used, {}
        begun, self._begun = self._begun, {}
        if used or begun:
            try:
                yield partial(self._file.add, used, begun)
            except StoreError:
                self._keep(used, begun)
                raise
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
            return await _driven(operation, partial(loop.run_in_executor, self._thread))

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
            self._turn = asyncio.Lock()  # for another event loop, which may use the store after this one

    def close(self) -> None:
        """Close a store that no event loop uses."""
        run(self.syncing())
        self._file.close()

    # --- memory

    def _loading(self) -> Operation:
        rows = yield self._file.load
        if rows is not None:
            self._merge(rows)

    def _merge(self, rows: list[Row]) -> None:
        """Merge the file's rows with what is not in the file yet."""
        keys = {}
        for row in rows:
            identifier = row["token_id"]
            known = keys[identifier] = self.keys.get(identifier) or Key(identifier, row["key_name"])
            begun = self._begun.get(identifier)
            if begun is not None and begun[0] == row["budget_reset_at"]:
                row.update(requests_used=0, tokens_used=0, budget_reset_at=begun[1])
            else:  # another process has begun a period, or changed its end
                self._begun.pop(identifier, None)
            for name, value in row.items():
                setattr(known, name, value)
            requests, tokens = self._used.get(identifier, (0, 0))
            known.requests_used += requests
            known.tokens_used += tokens
            known.__post_init__()
        self.keys = keys

    def _keep(
        self, used: dict[str, tuple[int, int]], begun: dict[str, tuple[float | None, float | None]]
    ) -> None:
        """Keep what could not be written."""
        for identifier, (requests, tokens) in used.items():
            if identifier not in self._begun:
                now = self._used.get(identifier, (0, 0))
                self._used[identifier] = (now[0] + requests, now[1] + tokens)
        for identifier, (before, after) in begun.items():
            self._begun[identifier] = (before, self._begun.get(identifier, (None, after))[1])


async def _driven(operation: Operation, perform: Callable[[Work], Awaitable[Any]]) -> Any:
    """Return an operation's result; `perform` makes the calls of the file that it yields."""
    try:
        work = next(operation)
        while True:
            try:
                result = await perform(work)
            except StoreError as error:
                work = operation.throw(error)
            else:
                work = operation.send(result)
    except StopIteration as done:
        return done.value


def run(operation: Operation) -> Any:
    """Run an operation in this thread."""

    async def here(work: Work) -> Any:
        return work()

    try:
        _driven(operation, here).send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("an operation that is run in this thread has waited")
