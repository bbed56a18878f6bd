"""Budget periods that end while a process does not write, and while a key is changed."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapter.tests.proxy import key_files
from adapter.tests.proxy.key_files import write
from triton_adapter.proxy.keys.auth import check_budget
from triton_adapter.proxy.keys.key import Key, Period, token_id
from triton_adapter.proxy.keys.operations import run
from triton_adapter.proxy.keys.store import KeyStore

HOUR = 3600.0


def new_key(**columns: Any) -> Key:
    return key_files.new_key(budget_duration="1h", request_budget=1000, **columns)


LATER = time.time() + HOUR
STORED = "SELECT requests_used, tokens_used, budget_reset_at FROM keys"
OPERATIONS: dict[str, Callable[[KeyStore], Any]] = {
    "it writes its use": lambda store: store.syncing(),
    "it changes the key": lambda store: store.updating(token_id("sk-x"), {"rpm_limit": 9}),
    "it changes the key's period": lambda store: store.updating(
        token_id("sk-x"), {"budget_duration": "2h", "budget_reset_at": LATER}
    ),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_process_that_wrote_nothing_for_a_whole_period_does_not_lose_its_use_of_the_next(
    store: KeyStore, path: Path, operation: str
) -> None:
    end = time.time() - HOUR - 10
    key = new_key(requests_used=9, budget_reset_at=end)
    run(store.creating(key))
    store.begin_due_period(key, end + 1)
    write(path, "UPDATE keys SET requests_used=4, tokens_used=8, budget_reset_at=?", end + HOUR)
    check_budget(key, store)
    store.use(key, 1, 2)
    run(OPERATIONS[operation](store))
    run(store.syncing())
    assert (key.requests_used, key.tokens_used) == (1, 2)
    assert write(path, STORED) == [(1, 2, key.budget_reset_at)]
    assert key.budget_reset_at in (end + 2 * HOUR, LATER)


@pytest.mark.parametrize("later", [None, HOUR, -HOUR / 2])
def test_a_new_end_of_a_period_that_is_over_does_not_carry_its_use_on(
    store: KeyStore, path: Path, later: float | None
) -> None:
    now = time.time()
    run(store.creating(new_key(requests_used=9, tokens_used=5, budget_reset_at=now - 10)))
    there = KeyStore(str(path))
    end = None if later is None else now + HOUR + later
    run(store.updating(token_id("sk-x"), {"budget_reset_at": end}))
    assert write(path, STORED) == [(0, 0, end)]
    run(there.syncing())
    for one in (store, there):
        key = one.keys[token_id("sk-x")]
        assert (key.requests_used, key.tokens_used, key.budget_reset_at) == (0, 0, end)
    there.close()


def test_a_new_end_of_a_period_that_is_not_over_keeps_its_use(store: KeyStore, path: Path) -> None:
    now = time.time()
    key = new_key(requests_used=9, tokens_used=5, budget_reset_at=now + HOUR / 2)
    run(store.creating(key))
    store.use(key, 1, 1)
    run(store.updating(key.token_id, {"budget_reset_at": now + HOUR}))
    run(store.syncing())
    assert write(path, STORED) == [(10, 6, now + HOUR)]


ENDS = [0.0, 60.0, 120.0, 121.0, 180.0, 240.0, None]


def test_a_period_is_begun_in_a_row_whose_period_is_over_and_in_no_other() -> None:
    assert [end for end in ENDS if Period(60.0, 180.0, 120.0).follows(end)] == [0.0, 60.0, 120.0]


def test_an_end_is_moved_in_a_row_that_still_has_it_and_in_no_other() -> None:
    assert [end for end in ENDS if Period(240.0, 180.0, None).follows(end)] == [240.0]
