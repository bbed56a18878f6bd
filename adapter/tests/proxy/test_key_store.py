"""The key store: what its file holds, how processes share the file, and that no request waits for it."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapter.tests.proxy.key_files import new_key
from adapter.tests.proxy.serving import BEARER, MASTER, entry, post, serve
from adapter.tests.upstream import Upstream, http
from triton_adapter.proxy import StoreError
from triton_adapter.proxy.keys import file as key_file
from triton_adapter.proxy.keys.auth import QuotaError, check_budget
from triton_adapter.proxy.keys.key import Key, token_id
from triton_adapter.proxy.keys.operations import run
from triton_adapter.proxy.keys.store import KeyStore

ANSWER = http(b'{"model_name":"m","model_version":"1","text_output":"one two three"}')


@contextmanager
def written_elsewhere(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold a write transaction from another process, so that no other connection can write."""
    other = sqlite3.connect(path, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other
        other.commit()
    finally:
        other.close()


def stored(path: Path, key: Key, *columns: str) -> Any:
    with sqlite3.connect(path) as database:
        found = database.execute(
            f"SELECT {','.join(columns)} FROM keys WHERE token_id=?",  # noqa: S608
            (key.token_id,),
        ).fetchone()
    database.close()
    return found


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    store = KeyStore(str(tmp_path / "keys.db"))
    run(store.creating(Key("a" * 64, "sk-...aaaa")))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    store.close()


def test_what_another_process_changes_is_seen(tmp_path: Path) -> None:
    here, there = (KeyStore(str(tmp_path / "keys.db")) for _ in range(2))
    key = Key(token_id("sk-x"), "sk-...x", rpm_limit=5)
    run(here.creating(key))
    run(there.syncing())
    seen = there.keys[key.token_id]
    assert (seen.rpm_limit, seen.meter.rpm) == (5, 5)
    there.use(seen, 2, 30)
    run(there.syncing())
    here.use(key, 1, 10)
    run(here.syncing())
    run(there.syncing())
    assert (key.requests_used, key.tokens_used) == (seen.requests_used, seen.tokens_used) == (3, 40)
    run(here.deleting([key.token_id]))
    run(there.syncing())
    assert there.keys == {}
    here.close()
    there.close()


def test_a_budget_period_that_is_over_is_written_down(tmp_path: Path) -> None:
    store = KeyStore(str(tmp_path / "keys.db"))
    past = time.time() - 10
    key = Key(
        token_id("sk-x"),
        "sk-...x",
        token_budget=5,
        tokens_used=9,
        budget_duration="1h",
        budget_reset_at=past,
    )
    run(store.creating(key))
    run(store.syncing())
    assert key.tokens_used == 0
    assert key.budget_reset_at == past + 3600
    store.close()
    with sqlite3.connect(tmp_path / "keys.db") as database:
        assert database.execute("SELECT tokens_used, budget_reset_at FROM keys").fetchone() == (
            0,
            past + 3600,
        )
    database.close()


def test_what_could_not_be_written_is_written_later(
    store: KeyStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_file, "BUSY", 0.0)
    key = new_key(request_budget=5)
    run(store.creating(key))
    store.use(key, 3, 7)
    with written_elsewhere(path), pytest.raises(StoreError):
        run(store.syncing())
    store.use(key, 1, 1)
    run(store.syncing())
    assert stored(path, key, "requests_used", "tokens_used") == (4, 8)


def test_a_period_that_a_request_begins_is_written_down_with_what_is_used_of_it(
    store: KeyStore, path: Path
) -> None:
    past = time.time() - 10
    key = new_key(token_budget=5, tokens_used=9, budget_duration="1h", budget_reset_at=past)
    run(store.creating(key))
    store.use(key, 1, 4)  # counted in the period that has ended
    check_budget(key, store)
    store.use(key, 1, 2)
    run(store.syncing())
    assert stored(path, key, "requests_used", "tokens_used", "budget_reset_at") == (1, 2, past + 3600)


def test_a_period_that_has_begun_here_is_not_forgotten_when_others_write(store: KeyStore, path: Path) -> None:
    past = time.time() - 10
    key = new_key(token_budget=5, tokens_used=9, budget_duration="1h", budget_reset_at=past)
    run(store.creating(key))
    check_budget(key, store)
    store.use(key, 1, 2)
    with written_elsewhere(path) as other:
        other.execute("UPDATE keys SET rpm_limit=9")
    run(store.updating(key.token_id, {"tpm_limit": 8}))
    assert (key.rpm_limit, key.tpm_limit, key.tokens_used, key.budget_reset_at) == (9, 8, 2, past + 3600)


def test_a_period_that_cannot_be_written_is_begun_once(
    store: KeyStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_file, "BUSY", 0.0)
    past = time.time() - 10
    key = new_key(token_budget=5, tokens_used=9, budget_duration="1h", budget_reset_at=past)
    run(store.creating(key))
    with written_elsewhere(path), pytest.raises(StoreError):
        run(store.syncing())
    store.use(key, 1, 5)
    with pytest.raises(QuotaError):
        check_budget(key, store)
    run(store.syncing())
    assert stored(path, key, "tokens_used", "budget_reset_at") == (5, past + 3600)


def test_two_processes_begin_a_period_once(store: KeyStore, path: Path) -> None:
    past = time.time() - 10
    key = new_key(token_budget=99, tokens_used=9, budget_duration="1h", budget_reset_at=past)
    run(store.creating(key))
    there = KeyStore(str(path))
    check_budget(key, store)
    store.use(key, 1, 2)
    run(store.syncing())
    seen = there.keys[key.token_id]
    check_budget(seen, there)
    there.use(seen, 1, 3)
    there.close()
    assert seen.tokens_used == 5
    assert stored(path, key, "tokens_used", "budget_reset_at") == (5, past + 3600)


def test_what_is_used_while_the_file_is_written_is_neither_lost_nor_counted_twice(
    store: KeyStore, path: Path
) -> None:
    key = new_key()
    run(store.creating(key))

    async def using() -> None:
        for _ in range(50):
            store.use(key, 1, 2)
            await asyncio.sleep(0)

    async def changing() -> None:
        for limit in range(1, 6):
            await store.perform(store.updating(key.token_id, {"rpm_limit": limit}))
            with written_elsewhere(path) as other:
                other.execute("UPDATE keys SET tokens_used=tokens_used+100")
            await store.perform(store.syncing())

    async def together() -> None:
        await asyncio.gather(using(), using(), changing(), changing())
        await store.aclose()

    asyncio.run(together())
    assert (key.requests_used, key.tokens_used) == (100, 1200)
    assert stored(path, key, "requests_used", "tokens_used", "rpm_limit") == (100, 1200, 5)


def test_requests_are_answered_while_another_process_holds_the_file(
    whole_upstream: Upstream, path: Path
) -> None:
    whole_upstream.answer(ANSWER)
    model = entry("a", f"{whole_upstream.url}/v2/models/m/generate")
    general = {"master_key": MASTER, "database_url": f"sqlite:///{path}"}
    with serve(model, general_settings=general) as proxy, ThreadPoolExecutor(1) as aside:
        key = post(proxy, "/key/generate", {}).json()["key"]
        with written_elsewhere(path):
            blocking = aside.submit(post, proxy, "/key/block", {"key": key})
            reply = httpx.post(
                f"{proxy.url}/chat/completions",
                json={"model": "a", "messages": [{"role": "user", "content": "hi"}]},
                headers={"Authorization": f"Bearer {key}"},
            )
            assert reply.status_code == 200
            assert httpx.get(f"{proxy.url}/key/info?key={key}", headers=BEARER).status_code == 200
            assert not blocking.done()
        assert blocking.result().json()["blocked"] is True
    assert stored(path, Key(token_id(key), ""), "requests_used", "blocked") == (1, 1)


@pytest.mark.parametrize("limit", ["request_budget", "rpm_limit", "max_parallel_requests"])
def test_a_limit_holds_however_many_ask_at_once(whole_upstream: Upstream, path: Path, limit: str) -> None:
    gate = threading.Barrier(4, timeout=30)  # three admitted requests and the test itself

    def wait() -> None:
        gate.wait()

    whole_upstream.on_post = wait
    for _ in range(3):
        whole_upstream.answer(ANSWER)
    model = entry("a", f"{whole_upstream.url}/v2/models/m/generate")
    general = {"master_key": MASTER, "database_url": f"sqlite:///{path}"}

    async def asking(url: str, key: str) -> list[int]:
        headers = {"Authorization": f"Bearer {key}"}
        body = {"model": "a", "messages": [{"role": "user", "content": "hi"}]}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
            left = {asyncio.create_task(client.post("/chat/completions", json=body)) for _ in range(20)}
            statuses: list[int] = []
            while len(left) > 3:
                done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
                statuses += [task.result().status_code for task in done]
            await asyncio.to_thread(gate.wait)
            return statuses + [(await task).status_code for task in left]

    with serve(model, general_settings=general) as proxy:
        made = post(proxy, "/key/generate", {limit: 3}).json()
        statuses = asyncio.run(asking(proxy.url, made["key"]))
    assert statuses == [429] * 17 + [200] * 3
    assert len(whole_upstream.posts) == 3


def test_a_new_end_of_a_period_that_has_just_begun_does_not_bring_its_past_back(
    store: KeyStore, path: Path
) -> None:
    key = new_key(token_budget=5, tokens_used=9, budget_duration="1h", budget_reset_at=time.time() - 10)
    run(store.creating(key))
    check_budget(key, store)
    store.use(key, 1, 2)
    later = time.time() + 86400
    run(store.updating(key.token_id, {"budget_duration": "1d", "budget_reset_at": later}))
    with written_elsewhere(path) as other:
        other.execute("UPDATE keys SET rpm_limit=9")
    run(store.syncing())
    assert (key.rpm_limit, key.tokens_used, key.budget_reset_at) == (9, 2, later)
    assert stored(path, key, "requests_used", "tokens_used", "budget_reset_at") == (1, 2, later)


def test_a_period_that_no_longer_ends_does_not_bring_its_past_back(store: KeyStore, path: Path) -> None:
    key = new_key(token_budget=5, tokens_used=9, budget_duration="1h", budget_reset_at=time.time() - 10)
    run(store.creating(key))
    check_budget(key, store)
    run(store.updating(key.token_id, {"budget_duration": None, "budget_reset_at": None}))
    run(store.syncing())
    assert (key.tokens_used, stored(path, key, "tokens_used", "budget_reset_at")) == (0, (0, None))


@pytest.mark.parametrize(
    "column, broken, whole",
    [("metadata", None, "{}"), ("models", "[", "[]"), ("requests_used", None, 1), ("budget_duration", "ever", None)],
)  # fmt: skip
def test_a_row_that_is_no_key_cannot_be_changed_and_costs_no_use(
    store: KeyStore, path: Path, column: str, broken: Any, whole: Any
) -> None:
    key = new_key(budget_reset_at=1.0)
    run(store.creating(key))
    store.use(key, 1, 2)
    with written_elsewhere(path) as other:
        other.execute(f"UPDATE keys SET {column}=?", (broken,))  # noqa: S608
    run(store.syncing())
    with pytest.raises(StoreError, match=f"its {column} has a value there that no key can have"):
        run(store.updating(key.token_id, {"rpm_limit": 9}))
    with written_elsewhere(path) as other:
        other.execute(f"UPDATE keys SET {column}=?", (whole,))  # noqa: S608
    run(store.syncing())
    assert stored(path, key, "requests_used", "tokens_used") == (1, 2)


def test_a_store_that_is_used_again_on_another_event_loop_sees_what_others_wrote(path: Path) -> None:
    store = KeyStore(str(path))
    key = new_key()

    async def used(*operations: Any) -> None:
        await asyncio.gather(*map(store.perform, operations))
        await store.aclose()

    asyncio.run(used(store.creating(key), store.syncing(), store.syncing()))
    with written_elsewhere(path) as other:
        other.execute("UPDATE keys SET rpm_limit=9")
    asyncio.run(used(store.syncing(), store.syncing(), store.syncing()))
    assert key.rpm_limit == 9


def test_a_store_says_what_the_file_does_not_have_yet(path: Path) -> None:
    store = KeyStore(str(path))
    assert repr(store) == f"<KeyStore {path} [CLOSED, 0 keys, 0 with unwritten use, 0 operations]>"
    key = Key(token_id("sk-one"), "sk-...one")
    run(store.creating(key))
    store.use(key, 1, 10)
    assert repr(store) == f"<KeyStore {path} [OPEN, 1 key, 1 with unwritten use, 0 operations]>"
    run(store.syncing())
    assert repr(store) == f"<KeyStore {path} [OPEN, 1 key, 0 with unwritten use, 0 operations]>"
    store.close()
    memory = KeyStore(None)
    assert repr(memory) == "<KeyStore in memory [OPEN, 0 keys, 0 with unwritten use, 0 operations]>"
    memory.close()
