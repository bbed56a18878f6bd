"""Attacks the proxy's file of keys: processes that share it, kills, a full disk, a hundred thousand keys.

Every attack has an end: a budget, a number of keys, the size of a disk. The disk that becomes full is a tmpfs in a
mount namespace of its own.
"""

import asyncio
import json
import os
import shlex
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx

from benchmarks.load import Unmeasured
from benchmarks.proxy import CHAT, KEY, _upstream
from benchmarks.report import conditions, write
from benchmarks.servers import MIB, _resident

PAGE = Path(__file__).parents[1] / "docs" / "soak_proxy.md"
CONFIG = """\
model_list:
  - model_name: m
    litellm_params: {{model: triton/m, api_base: "{upstream}/v2/models/m/generate"}}
general_settings: {{master_key: {key}, database_url: "sqlite:///{file}"}}
"""
MASTER = {"Authorization": f"Bearer {KEY}"}
BUDGETS = (100, 1_000, 10_000)
PROXIES = (1, 2)
CLIENTS = 16
KILLS = 10
MANY = 100_000
#: bytes of the disk that becomes full
DISK = 1 << 20
_PATIENCE = 60.0


@dataclass(frozen=True)
class Proxy:
    """A proxy in its own process, and where its log is."""

    process: subprocess.Popen[str]
    port: int
    ready_s: float
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def made(self, **columns: Any) -> dict[str, Any]:
        """Make a key. Unmeasured if it is refused."""
        reply = httpx.post(f"{self.url}/key/generate", headers=MASTER, json=columns)
        if reply.status_code != 200:
            raise Unmeasured(f"a key was refused: {reply.text}")
        made: dict[str, Any] = reply.json()
        return made


@contextmanager
def proxy(folder: Path, upstream: str, file: Path, *before: str, config: str = CONFIG) -> Iterator[Proxy]:
    """Start a proxy over this file of keys; `before` is what its command line begins with."""
    folder.mkdir(exist_ok=True)
    written, log = folder / "config.yaml", folder / "log"
    written.write_text(config.format(upstream=upstream, key=KEY, file=file))
    command = [
        sys.executable,
        "-m",
        "triton_adapter.cli",
        "--config",
        str(written),
        "--port=0",
        "--host=127.0.0.1",
    ]
    began = time.perf_counter()
    with log.open("w") as errors:
        process = subprocess.Popen([*before, *command], stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise Unmeasured(f"the proxy did not start: {log.read_text()[-500:]}")
            yield Proxy(process, int(line.rpartition(":")[2]), time.perf_counter() - began, log)
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


async def _ask(url: str, key: str, times: int | None = None) -> tuple[int, list[float]]:
    """Send requests on one connection, so many or until they are refused; return how many were answered, and when."""
    body = json.dumps(CHAT).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    sent = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    answered, taken = 0, []
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    try:
        while times is None or answered < times:
            began = time.perf_counter()
            writer.write(sent)
            status = await reader.readline()
            length = 0
            while (line := await reader.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line[15:])
            await reader.readexactly(length)
            taken.append(time.perf_counter() - began)
            if b" 429 " in status or not status:
                break
            if b" 200 " not in status:
                raise Unmeasured(f"an answer was {status!r}")
            answered += 1
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # the proxy was killed
    writer.close()
    return answered, taken


async def _spend(urls: list[str], key: str) -> int:
    """Send requests with a key until its budget is used up; return how many were answered."""
    found = await asyncio.gather(*(_ask(url, key) for url in urls for _ in range(CLIENTS)))
    return sum(answered for answered, _ in found)


def budgets() -> list[str]:
    """Return the rows: how many requests proxies answer together that share a key with a budget."""
    rows = ["| proxies | budget | answered | more than the budget | |", "|--:|--:|--:|--:|--:|"]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        upstream = stack.enter_context(_upstream()).url
        running = [
            stack.enter_context(proxy(folder / str(at), upstream, folder / "keys.db"))
            for at in range(max(PROXIES))
        ]
        for number in PROXIES:
            for budget in BUDGETS:
                made = running[0].made(request_budget=budget)
                for other in running[1:]:
                    _until(partial(_knows, other.url, made["token_id"]))
                began = time.perf_counter()
                answered = asyncio.run(_spend([one.url for one in running[:number]], made["key"]))
                rate = answered / (time.perf_counter() - began)
                over = answered - budget
                rows.append(
                    f"| {number} | {budget:,} | {answered:,} | {over:,} ({100 * over / budget:.1f}%) | {rate:,.0f}/s |"
                )
                print(rows[-1], flush=True)
    return rows


def kills() -> list[str]:
    """Return a text: what is lost when a proxy is killed while keys are made and used."""
    made = confirmed = answered = written = 0
    with tempfile.TemporaryDirectory() as name, _upstream() as upstream:
        folder = Path(name)
        file = folder / "keys.db"
        for at in range(KILLS):
            names: list[str] = []
            with proxy(folder / "proxy", upstream.url, file) as running:
                key = running.made()
                killed = asyncio.run(_kill(running, key["key"], names, 100 + 40 * at))
            made += len(names)
            answered += killed
            with sqlite3.connect(file) as database:
                if database.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                    raise Unmeasured("a kill has damaged the file")
                found = {row[0] for row in database.execute("SELECT token_id FROM keys")}
                (used,) = database.execute(
                    "SELECT requests_used FROM keys WHERE token_id=?", (key["token_id"],)
                ).fetchone()
            database.close()
            confirmed += len(found & set(names))
            written += used
    text = (
        f"{KILLS} kills: {made:,} keys were confirmed, {made - confirmed:,} of them lost; {answered:,} requests were"
        f" answered, the usage of {answered - written:,} of them lost. The file was whole each time."
    )
    print(text, flush=True)
    return [text]


async def _kill(running: Proxy, key: str, names: list[str], number: int) -> int:
    """Kill a proxy after so many keys were confirmed; return how many requests it has answered meanwhile."""

    async def make(client: httpx.AsyncClient) -> None:
        try:
            while True:
                reply = await client.post("/key/generate", json={"metadata": {"filled": "x" * 2000}})
                names.append(reply.json()["token_id"])
                if len(names) >= number:
                    running.process.kill()
        except httpx.TransportError:
            pass

    async with httpx.AsyncClient(base_url=running.url, headers=MASTER, timeout=_PATIENCE) as client:
        asking = [asyncio.create_task(_ask(running.url, key)) for _ in range(4)]
        await asyncio.gather(*(make(client) for _ in range(4)))
        return sum([(await one)[0] for one in asking])


def full_disk() -> list[str]:
    """Return a text: what a proxy does whose file of keys is on a disk that becomes full."""
    namespace = (
        ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    )
    with tempfile.TemporaryDirectory() as name, _upstream() as upstream:
        folder = Path(name)
        disk = folder / "disk"
        disk.mkdir()
        quoted = shlex.quote(str(disk))
        mount = f"mount -t tmpfs -o size={DISK} none {quoted}"
        script = f'{mount} && head -c {DISK // 4} /dev/zero > {quoted}/other && exec "$@"'
        with proxy(
            folder / "proxy", upstream.url, disk / "keys.db", *namespace, "sh", "-c", script, "sh"
        ) as running:
            key = running.made()
            keys = 1
            while (refused := _made_large(running)) is None:
                keys += 1
            answered = asyncio.run(_ask(running.url, key["key"], 200))[0]
            _until(lambda: "key store" in running.log.read_text())
            told = running.log.read_text().splitlines()
            kept = _used(running, key["token_id"])
            _inside(running, "rm", str(disk / "other"))
            read = sys.executable, "-c", _READ, str(disk / "keys.db"), key["token_id"]
            _until(lambda: _inside(running, *read) == f"ok {answered}")
            again = _made_large(running) is None
            whole = _inside(running, *read).startswith("ok ")
    if (answered, kept, whole, again) != (200, 200, True, True) or len(told) != 1:
        raise Unmeasured(
            f"{answered} answered, {kept} counted, whole: {whole}, again: {again}, the log: {told}"
        )
    text = (
        f"A disk of {DISK >> 20} MiB took {keys} keys of 4 KiB. The next was refused: `{refused}`. All of {answered}"
        f" requests were answered then, and all were counted. The log got one line. When there was room again,"
        f" the usage was written and keys were made. The file was whole."
    )
    print(text, flush=True)
    return [text]


def _made_large(running: Proxy) -> str | None:
    """Make a key of 4 KiB; return the text of a refusal."""
    body = {"metadata": {"filled": "x" * 4000}, "team_id": "large"}
    reply = httpx.post(f"{running.url}/key/generate", headers=MASTER, json=body, timeout=_PATIENCE)
    return None if reply.status_code == 200 else str(reply.json()["error"]["message"])


def _used(running: Proxy, identifier: str) -> int:
    reply = httpx.get(f"{running.url}/key/info", params={"key": identifier}, headers=MASTER)
    return int(reply.json()["info"]["requests_used"])


_READ = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
(whole,) = database.execute("PRAGMA integrity_check").fetchone()
(used,) = database.execute("SELECT requests_used FROM keys WHERE token_id=?", (sys.argv[2],)).fetchone()
print(whole, used)
"""


def _inside(running: Proxy, *command: str) -> str:
    """Return the output of a command in the proxy's own namespace."""
    enter = ["nsenter", f"--target={running.process.pid}", "--mount"]
    if os.geteuid() != 0:
        enter += ["--user", "--preserve-credentials"]
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=True).stdout.strip()


def many() -> list[str]:
    """Return the rows: start, memory and times with few and with many keys."""
    rows = [f"| | 10 keys | {MANY:,} keys |", "|---|--:|--:|"]
    columns = [_measured(number) for number in (10, MANY)]
    rows += [f"| {what} | {columns[0][what]} | {columns[1][what]} |" for what in columns[0]]
    print("\n".join(rows), flush=True)
    return rows


def _measured(number: int) -> dict[str, str]:
    found = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        file = folder / "keys.db"
        upstream = stack.enter_context(_upstream()).url
        with proxy(folder / "first", upstream, file) as first:
            first.made()
        _fill(file, number)
        running = stack.enter_context(proxy(folder / "one", upstream, file))
        found["start"] = f"{running.ready_s:.2f} s"
        found["resident memory"] = f"{_resident(running.process.pid) / MIB:.0f} MiB"
        found["size of the file"] = f"{file.stat().st_size / MIB:.1f} MiB"
        get = stack.enter_context(httpx.Client(headers=MASTER, timeout=_PATIENCE)).get
        last = max(1, number // 100)
        for what, path in (
            ("the first page of keys", "/key/list"),
            ("the last page", f"/key/list?page={last}"),
            ("the keys of a team", "/key/list?team_id=team-7"),
            ("one key", f"/key/info?key={0:064x}"),
        ):
            found[what] = _best(partial(get, running.url + path))
        found["a key is made, by a new client"] = _best(
            lambda: running.made(key_alias=f"alias-{time.perf_counter_ns()}")
        )
        key = running.made()["key"]
        other = stack.enter_context(proxy(folder / "two", upstream, file))
        found["a request, p50 / p99"] = _times(asyncio.run(_ask(running.url, key, 2000))[1])
        found["the same while another proxy writes, p50 / p99"] = _times(
            asyncio.run(_beside(running, other, key))
        )
    return found


async def _beside(running: Proxy, other: Proxy, key: str) -> list[float]:
    noise = asyncio.create_task(_ask(other.url, key, 100_000))
    _, taken = await _ask(running.url, key, 2000)
    noise.cancel()
    await asyncio.gather(noise, return_exceptions=True)
    return taken


def _fill(file: Path, number: int) -> None:
    end = time.time() + 86400 * 29
    with sqlite3.connect(file) as database:
        database.executemany(
            "INSERT INTO keys (token_id, key_name, key_alias, models, aliases, created_at, blocked, requests_used,"
            " tokens_used, metadata, team_id, token_budget, budget_duration, budget_reset_at)"
            " VALUES (?, 'sk-...x', ?, '[]', '{}', ?, 0, 0, 0, '{}', ?, 1000000, '30d', ?)",
            ((f"{at:064x}", f"key-{at}", 1e9 + at, f"team-{at % 100}", end) for at in range(number)),
        )
    database.close()


def _best(task: Callable[[], object]) -> str:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        task()
        times.append(time.perf_counter() - began)
    return f"{1000 * min(times):.1f} ms"


def _times(taken: list[float]) -> str:
    at = quantiles(taken, n=100)
    return f"{1000 * at[49]:.2f} / {1000 * at[98]:.2f} ms"


def _knows(url: str, identifier: str) -> bool:
    return httpx.get(f"{url}/key/info", params={"key": identifier}, headers=MASTER).status_code == 200


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise Unmeasured("a proxy did not do in time what it was waited for")
        time.sleep(0.02)


def run() -> dict[str, list[str]]:
    """Make every attack; return the lines of each part of the page. Unmeasured if something did not hold."""
    return {part.__name__: part() for part in (budgets, kills, full_disk, many)}


def report(found: dict[str, list[str]], load: float) -> None:
    """Write the parts of docs/soak_proxy.md; `load` is the machine's load average before the run."""
    for part, lines in found.items():
        write(part.replace("_", " "), [conditions(load), "", *lines], PAGE)
