"""The key store under attack: shared budgets, a kill, a file that cannot be written, a clock that is set."""

import asyncio
import itertools
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from adapter.tests.proxy.key_files import new_key
from triton_adapter.proxy import StoreError
from triton_adapter.proxy.keys.auth import QuotaError, check_budget
from triton_adapter.proxy.keys.file import KeyFile
from triton_adapter.proxy.keys.key import SET_BACK, Period, token_id
from triton_adapter.proxy.keys.operations import run
from triton_adapter.proxy.keys.store import BATCH, NEAR, KeyStore

HOUR = 3600.0


def stored(path: Path, *columns: str) -> Any:
    with sqlite3.connect(path) as database:
        found = database.execute(f"SELECT {','.join(columns)} FROM keys").fetchone()  # noqa: S608
    database.close()
    return found


async def wants_to_sync(store: KeyStore) -> bool:
    """Whether the store would be synced at once, and not only after an hour."""
    waiting = asyncio.create_task(store.due(HOUR))
    for _ in range(3):
        await asyncio.sleep(0)
    done = waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return done


# --- budgets that processes share


@pytest.mark.parametrize("number", [1, 2, 8])
@pytest.mark.parametrize("column", ["request_budget", "token_budget"])
def test_processes_that_share_a_budget_write_their_use_before_it_is_spent_twice(
    store: KeyStore, path: Path, column: str, number: int
) -> None:
    columns: dict[str, Any] = {column: 1000}
    run(store.creating(new_key(**columns)))
    stores = [store, *(KeyStore(str(path)) for _ in range(number - 1))]
    identifier = token_id("sk-x")

    async def spend() -> int:
        admitted = 0
        spending = dict.fromkeys(range(len(stores)))
        for at in itertools.cycle(range(len(stores))):
            if not spending:
                return admitted
            if at not in spending:
                continue
            one = stores[at]
            try:
                check_budget(one.keys[identifier], one)
            except QuotaError:
                del spending[at]
                continue
            one.use(one.keys[identifier], 1, 1)
            admitted += 1
            if await wants_to_sync(one):
                await one.perform(one.syncing())
        raise AssertionError

    assert 1000 <= asyncio.run(spend()) <= 1000 + (number - 1) * 1000 // NEAR
    for one in stores[1:]:
        one.close()


def test_the_use_of_a_key_is_written_at_once_only_near_the_end_of_its_budget(store: KeyStore) -> None:
    near, far, free = new_key("a", request_budget=4), new_key("b", token_budget=10_000), new_key("c")
    for key in (near, far, free):
        run(store.creating(key))

    async def used() -> list[bool]:
        wanted = []
        for key in (far, free, near):
            store.use(key, 1, 5)
            wanted.append(await wants_to_sync(store))
        return wanted

    assert asyncio.run(used()) == [False, False, True]


# --- what others change


def test_only_the_keys_that_others_have_changed_are_read(store: KeyStore, path: Path) -> None:
    for at in range(20):
        run(store.creating(new_key(str(at), created_at=float(at))))
    file = KeyFile(str(path))
    first = file.load()
    assert first is not None
    assert (len(first.rows), first.gone, first.whole) == (20, [], True)
    file.merged(first)
    assert file.load() is None
    store.use(store.keys[token_id("sk-3")], 1, 2)
    run(store.syncing())
    run(store.deleting([token_id("sk-5")]))
    run(store.updating(token_id("sk-7"), {}, "sk-seven"))
    then = file.load()
    assert then is not None
    assert [(row["token_id"], row["tokens_used"]) for row in then.rows] == [
        (token_id("sk-3"), 2),
        (token_id("sk-seven"), 0),
    ]
    assert (set(then.gone), then.whole) == ({token_id("sk-5"), token_id("sk-7")}, False)
    file.merged(then)
    assert file.load() is None
    file.close()


def test_keys_are_listed_in_the_order_of_their_creation_whoever_made_them(
    store: KeyStore, path: Path
) -> None:
    there = KeyStore(str(path))
    number = 2 * BATCH + 3
    for at in range(number):
        run((store, there)[at % 2].creating(new_key(str(at), created_at=float(number - at))))
    run(store.syncing())
    run(there.syncing())
    expected = [token_id(f"sk-{at}") for at in reversed(range(number))]
    assert (
        [key.token_id for key in store.in_order()] == [key.token_id for key in there.in_order()] == expected
    )
    there.close()
    again = KeyStore(str(path))
    assert [key.token_id for key in again.page(2, 3)] == expected[2:5]
    again.close()


def test_an_alias_is_free_again_when_its_key_is_gone_or_has_another(store: KeyStore, path: Path) -> None:
    there = KeyStore(str(path))
    for name in ("a", "b", "c"):
        run(store.creating(new_key(name, key_alias=name)))
    run(store.updating(token_id("sk-a"), {"key_alias": "z"}))
    run(store.deleting([token_id("sk-b")]))
    run(store.updating(token_id("sk-c"), {}, "sk-new"))
    run(there.syncing())
    for one in (store, there):
        found = {alias: [key.token_id for key in one.by_alias([alias])] for alias in "abcz"}
        assert found == {"a": [], "b": [], "c": [token_id("sk-new")], "z": [token_id("sk-a")]}
    there.close()


# --- a kill

CREATING = """
import sys
from triton_adapter.proxy.keys.key import Key, token_id
from triton_adapter.proxy.keys.operations import run
from triton_adapter.proxy.keys.store import KeyStore
store = KeyStore(sys.argv[1])
for at in range(100_000):
    run(store.creating(Key(token_id(str(at)), "x", metadata={"filled": "x" * 5000})))
    print(at, flush=True)
"""


def test_a_kill_while_keys_are_written_loses_none_that_was_confirmed(path: Path) -> None:
    command = [sys.executable, "-c", CREATING, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writing:
        assert writing.stdout is not None
        for _ in range(50):
            writing.stdout.readline()
        writing.kill()
        confirmed = 50 + sum(line.endswith("\n") for line in writing.stdout)
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()
    store = KeyStore(str(path))
    assert {token_id(str(at)) for at in range(confirmed)} <= store.keys.keys()
    store.close()


# --- a file that cannot be written

FAULTS = {
    "it may only be read": (
        "PRAGMA query_only=1",
        "PRAGMA query_only=0",
        "the file or its folder may not be written",
    ),
    "the disk is full": ("PRAGMA max_page_count=1", "PRAGMA max_page_count=1000000", "the disk is full"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_cannot_be_written_is_told_with_the_reason_and_costs_no_use(
    store: KeyStore, path: Path, fault: str
) -> None:
    begin, end, reason = FAULTS[fault]
    # So many that their use does not fit into the pages that the file has.
    keys = [new_key(str(at), request_budget=2) for at in range(300)]
    there = KeyStore(str(path))
    for key in keys:
        run(store.creating(key))
    run(there.syncing())
    database = store._file._database
    assert database is not None
    database.execute(begin)
    with pytest.raises(StoreError, match=reason):
        run(store.creating(new_key("new", metadata={"filled": "x" * 100_000})))
    assert token_id("sk-new") not in store.keys
    for key in keys:
        store.use(key, 1, 5)
    run(there.updating(keys[0].token_id, {"blocked": True}))
    with pytest.raises(StoreError, match=reason):
        run(store.syncing())
    assert keys[0].blocked
    store.use(keys[1], 1, 0)
    with pytest.raises(QuotaError):
        check_budget(keys[1], store)
    database.execute(end)
    run(store.syncing())
    run(there.syncing())
    assert (there.keys[keys[1].token_id].requests_used, there.keys[keys[0].token_id].requests_used) == (2, 1)
    there.close()


def test_a_number_that_no_database_holds_does_not_stop_the_others_from_being_written(
    store: KeyStore, path: Path
) -> None:
    key = new_key()
    run(store.creating(key))
    store.use(key, 1, 2**70)
    run(store.syncing())
    store.use(key, 1, 1)
    run(store.syncing())
    assert stored(path, "requests_used", "tokens_used") == (2, 2**53 + 1)


# --- a clock that is set

NOW = 1_000_000.0
CLOCKS = {
    "it goes on": (NOW, None),
    "it is set back a little": (NOW - SET_BACK / 2, None),
    "it is set back by more than the period": (NOW - 2 * HOUR, Period(NOW + HOUR, NOW - HOUR, None)),
    "it is set forward within the period": (NOW + HOUR / 2, None),
    "it is set forward over the end": (NOW + HOUR, Period(NOW + HOUR, NOW + 2 * HOUR, NOW + HOUR)),
    "it is set forward by a year": (
        NOW + 8760 * HOUR,
        Period(NOW + HOUR, NOW + 8761 * HOUR, NOW + 8760 * HOUR),
    ),
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_budget_period_ends_at_most_its_length_from_now_however_the_clock_is_set(clock: str) -> None:
    now, expected = CLOCKS[clock]
    key = new_key(requests_used=3, budget_duration="1h", budget_reset_at=NOW + HOUR)
    assert key.begin_due_period(now) == expected
    assert key.budget_reset_at is not None
    assert key.budget_reset_at - now <= HOUR + SET_BACK
    assert key.requests_used == (0 if expected is not None and expected.fresh else 3)


def test_a_clock_that_was_a_year_ahead_for_a_while_locks_no_key(store: KeyStore, path: Path) -> None:
    now = time.time()
    key = new_key(request_budget=9, requests_used=2, budget_duration="1h", budget_reset_at=now + HOUR)
    run(store.creating(key))
    there = KeyStore(str(path))
    store.begin_due_period(key, now + 8760 * HOUR)  # the clock is a year ahead
    store.use(key, 3, 0)
    run(store.syncing())  # the clock is right again
    store.use(key, 1, 0)
    run(store.syncing())
    run(there.syncing())
    for one in (store, there):
        seen = one.keys[key.token_id]
        assert seen.requests_used == 4
        assert seen.budget_reset_at is not None
        assert now < seen.budget_reset_at <= time.time() + HOUR
    assert stored(path, "requests_used") == (4,)
    there.close()
