"""The task that syncs the store of keys, in a proxy that runs."""

import asyncio
import logging
import sqlite3
from pathlib import Path

from adapter.tests.proxy.serving import MASTER
from triton_adapter.proxy import read_config
from triton_adapter.proxy.app import Proxy
from triton_adapter.proxy.keys.key import Key, token_id
from triton_adapter.proxy.keys.operations import run
from triton_adapter.proxy.keys.store import KeyStore

CONFIG = """\
model_list: [{{model_name: m, litellm_params: {{model: triton/m, api_base: "http://127.0.0.1:9"}}}}]
general_settings: {{master_key: {master}, database_url: "sqlite:///{path}"}}
"""


class Log(logging.Handler):
    """Puts each line of the log into a queue."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.put_nowait(record.getMessage())


def test_the_task_that_syncs_the_keys_goes_on_whatever_fails(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    proxy = Proxy(read_config(CONFIG.format(master=MASTER, path=path), {}))

    async def failing() -> list[str]:
        log = Log()
        logging.getLogger("triton_proxy").addHandler(log)
        async with proxy.running():
            key = Key(token_id("sk-x"), "sk-...x", request_budget=1)
            await proxy.store.perform(proxy.store.creating(key))
            thread = proxy.store._thread
            assert thread is not None
            thread.shutdown()  # each operation raises RuntimeError now
            proxy.store.use(key, 1, 2)
            lines = [await log.lines.get()]
            proxy.store._thread = None  # the next operation makes another
            lines.append(await log.lines.get())
        logging.getLogger("triton_proxy").removeHandler(log)
        return lines

    first, then = asyncio.run(failing())
    assert first.startswith("the key store failed: RuntimeError at ")
    assert then == "the key store can be used again"
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT requests_used, tokens_used FROM keys").fetchall() == [(1, 2)]
    database.close()


def test_a_wrong_value_in_the_file_does_not_keep_other_changes_from_a_proxy_that_runs(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    proxy = Proxy(read_config(CONFIG.format(master=MASTER, path=path), {}))
    there = KeyStore(str(path))
    run(there.creating(Key(token_id("sk-a"), "sk-...a", budget_duration="1h", budget_reset_at=9e9)))

    async def changing() -> None:
        log = Log()
        logging.getLogger("triton_proxy").addHandler(log)
        async with proxy.running():
            with sqlite3.connect(path) as database:
                database.execute("UPDATE keys SET budget_reset_at='2027-01-01'")
            database.close()
            assert "budget_reset_at" in await log.lines.get()
            await proxy.store.perform(proxy.store.creating(Key(token_id("sk-b"), "sk-...b")))
            await proxy.store.perform(proxy.store.syncing())
        logging.getLogger("triton_proxy").removeHandler(log)
        assert log.lines.empty()

    asyncio.run(changing())
    run(there.syncing())
    assert token_id("sk-b") in there.keys
    there.close()
