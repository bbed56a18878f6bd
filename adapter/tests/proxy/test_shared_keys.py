"""Two proxies on one file of keys: what one changes counts at the other before that refuses a secret."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapter.tests.proxy.serving import MASTER, entry, error_of, get, post, serve
from triton_adapter.proxy import ProxyServer, app
from triton_adapter.proxy.keys.key import Key, token_id
from triton_adapter.proxy.keys.operations import Operation, run
from triton_adapter.proxy.keys.store import KeyStore

Pair = tuple[ProxyServer, ProxyServer]


@pytest.fixture
def pair(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Two proxies that do not sync by themselves while a test runs."""
    monkeypatch.setattr(app, "SYNC", 3600.0)
    general = {"master_key": MASTER, "database_url": f"sqlite:///{path}"}
    model = entry("a", "http://127.0.0.1:9")
    with serve(model, general_settings=general) as here, serve(model, general_settings=general) as there:
        yield here, there


def make(proxy: ProxyServer, **given: Any) -> str:
    reply = post(proxy, "/key/generate", given)
    assert reply.status_code == 200, reply.text
    key: str = reply.json()["key"]
    return key


def use(proxy: ProxyServer, key: str) -> httpx.Response:
    return httpx.get(f"{proxy.url}/v1/models", headers={"Authorization": f"Bearer {key}"})


def test_a_key_may_be_used_at_once_at_a_proxy_that_did_not_make_it(pair: Pair) -> None:
    here, there = pair
    make(there)
    for _ in range(3):
        assert use(there, make(here)).status_code == 200
    refused = httpx.post(
        f"{there.url}/v1/chat/completions", json={}, headers={"Authorization": f"Bearer {make(here)}"}
    )
    assert error_of(refused) == (400, "model", "missing_required_parameter")


def test_a_new_secret_counts_at_once_everywhere_and_the_old_one_not_after_it(pair: Pair) -> None:
    here, there = pair
    old = make(here)
    assert use(there, old).status_code == 200
    new = post(here, "/key/regenerate", {"key": old}).json()["key"]
    assert [use(there, key).status_code for key in (new, old)] == [200, 401]


def test_a_key_that_is_unblocked_or_prolonged_may_be_used_at_once_everywhere(pair: Pair, path: Path) -> None:
    here, there = pair
    key = make(here, blocked=True)
    assert error_of(use(there, key)) == (401, None, "key_blocked")
    assert post(here, "/key/unblock", {"key": key}).status_code == 200
    assert use(there, key).status_code == 200
    late = "sk-expired-0123456789"
    run((elsewhere := KeyStore(str(path))).creating(Key(token_id(late), "sk-...6789", expires=1.0)))
    elsewhere.close()
    assert error_of(use(there, late)) == (401, None, "expired_key")
    assert post(here, "/key/update", {"key": late, "duration": "1d"}).status_code == 200
    assert use(there, late).status_code == 200


def test_a_key_is_described_and_deleted_at_once_by_a_proxy_that_did_not_make_it(pair: Pair) -> None:
    here, there = pair
    key = make(here, key_alias="team")
    assert get(there, f"/key/info?key={key}").json()["info"]["key_alias"] == "team"
    make(here, key_alias="other")
    reply = post(there, "/key/delete", {"key_aliases": ["other", "team"]})
    assert len(reply.json()["deleted_keys"]) == 2


def test_a_wrong_secret_is_refused_as_wrong_if_the_file_cannot_be_read(pair: Pair, path: Path) -> None:
    here, _ = pair
    key = make(here)
    path.rename(path.with_name("moved.db"))
    assert error_of(use(here, "sk-wrong-0123456789")) == (401, None, "invalid_api_key")
    assert use(here, key).status_code == 200


def test_however_many_wrong_secrets_wait_the_file_is_looked_at_once(path: Path) -> None:
    store = KeyStore(str(path))
    run(store.creating(Key(token_id("sk-x"), "sk-...x")))
    done: list[str] = []
    assert store._file._database is not None
    store._file._database.set_trace_callback(done.append)
    gate = threading.Event()

    def held() -> Operation:
        yield gate.wait

    async def looks(number: int) -> None:
        await asyncio.gather(*(store.look() for _ in range(number)))

    async def looking() -> None:
        holding = asyncio.create_task(store.perform(held()))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(looks(100))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(holding, waiting)
        await store.look()

    asyncio.run(looking())
    assert done == ["BEGIN", "PRAGMA data_version", "COMMIT"] * 2
    asyncio.run(store.aclose())


def test_a_look_sees_what_was_written_after_another_look_had_begun(path: Path) -> None:
    store, there = KeyStore(str(path)), KeyStore(str(path))
    run(store.creating(Key(token_id("sk-x"), "sk-...x")))

    async def looking() -> None:
        first = asyncio.create_task(store.look())
        for _ in range(5):  # the look begins
            await asyncio.sleep(0)
        run(there.creating(Key(token_id("sk-y"), "sk-...y")))
        await store.look()
        assert token_id("sk-y") in store.keys
        await first
        await store.aclose()

    asyncio.run(looking())
    there.close()
