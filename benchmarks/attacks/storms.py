"""Attacks on the repository: loads and unloads from many clients beside requests, and thousands of models."""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from benchmarks.attacks.connections import read_answer, request
from benchmarks.attacks.watched import Did, Watched, add_model, under, watched

_CLIENTS, _IN_FLIGHT, _MODELS = 50, 1000, 10
_ASKED = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}


def loads(repository: Path, count: int) -> Did:
    """Loads and unloads of ten models by 50 clients, while 1,000 others have a request to them in flight."""
    names = [f"model_{number}" for number in range(_MODELS)]
    for name in names:
        add_model(repository, name)

    async def attack(server: Watched) -> Did:
        done = asyncio.Event()
        found: Counter[str] = Counter()

        async def change(client: int) -> None:
            chance = random.Random(client)
            reader, writer = await asyncio.open_connection(*server.address)
            for _ in range(count // _CLIENTS):
                name, verb = chance.choice(names), chance.choice(("load", "unload"))
                writer.write(request(f"/v2/repository/models/{name}/{verb}", {}))
                status, body = await read_answer(reader)
                found[f"{verb}: {status} {'' if status == 200 else body[:90].decode()}"] += 1
            writer.close()

        async def infer(client: int) -> None:
            chance = random.Random(client)
            reader, writer = await asyncio.open_connection(*server.address)
            while not done.is_set():
                writer.write(request(f"/v2/models/{chance.choice(names)}/infer", _ASKED))
                status, body = await asyncio.wait_for(read_answer(reader), 120)
                text = "" if status == 200 else body.decode()
                for name in names:
                    text = text.replace(name, "model")
                found[f"infer: {status} {text[:90]}"] += 1
            writer.close()

        asking = asyncio.gather(*(infer(client) for client in range(_IN_FLIGHT)))
        await asyncio.gather(*(change(client) for client in range(_CLIENTS)))
        done.set()
        await asking
        return {"loads and unloads": count, **dict(sorted(found.items()))}

    return under(repository, attack, ("--model-control-mode=explicit", "--load-model=*"))


def many_models(repository: Path, count: int) -> Did:
    """So many Python models in a repository: the start, memory, and the time of the index, statistics and metrics."""
    for number in range(count):
        add_model(repository, f"model_{number}")
    begin = time.monotonic()
    with watched(repository, ()) as server:
        ready = round(time.monotonic() - begin, 1)
        did: Did = {"models": count, "seconds to ready": ready, "held": asdict(server.held)}

        async def ask(port: int, sent: bytes) -> str:
            began = time.perf_counter()
            reader, writer = await asyncio.open_connection(server.address[0], port, limit=1 << 28)
            writer.write(sent)
            _, body = await read_answer(reader)
            writer.close()
            return f"{1000 * (time.perf_counter() - began):.0f} ms, {len(body):,} bytes"

        http, metrics = server.address[1], server.target.metrics
        time.sleep(1)
        server.beside()
        for what, port, sent in (
            ("index", http, request("/v2/repository/index", {})),
            ("statistics", http, b"GET /v2/models/stats HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("metrics", metrics.port if metrics else 0, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("one infer", http, request(f"/v2/models/model_{count - 1}/infer", _ASKED)),
            ("bare /generate", http, request("/generate", {"text_input": "x"})),
        ):
            did[what] = asyncio.run(ask(port, sent))
            did[f"beside, {what}"] = server.beside()["health"].get("max_ms")
        return did | {"ended": server.end(120)}


_STUCK = """
import threading


class TritonPythonModel:
    def execute(self, requests):
        raise NotImplementedError

    def STEP(self, args=None):
        threading.Event().wait()
"""


def stuck_imports(repository: Path, count: int) -> Did:
    """Clients that load ten models whose import never ends, while others are served and load another model."""
    return _stuck_loads(repository, count, "import threading\n\nthreading.Event().wait()\n")


def stuck_initialize(repository: Path, count: int) -> Did:
    """The same with models whose `initialize` never ends."""
    return _stuck_loads(repository, count, _STUCK.replace("STEP", "initialize"))


def _stuck_loads(repository: Path, count: int, code: str) -> Did:
    for number in range(_MODELS):
        add_model(repository, f"stuck_{number}", code)

    async def attack(server: Watched) -> Did:
        writers = []
        for number in range(count):
            _, writer = await asyncio.open_connection(*server.address)
            writer.write(request(f"/v2/repository/models/stuck_{number % _MODELS}/load", {}))
            writers.append(writer)
        await asyncio.sleep(10)
        others = {}
        add_model(repository, "late")
        for what, path, body in (
            ("load another", "/v2/repository/models/late/load", {}),
            ("ask it", "/v2/models/late/infer", _ASKED),
            ("index", "/v2/repository/index", {}),
        ):
            begin = time.perf_counter()
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(request(path, body))
            try:
                status, _ = await asyncio.wait_for(read_answer(reader), 30)
            except TimeoutError:
                status = 0
            writer.close()
            others[what] = f"{status}, {1000 * (time.perf_counter() - begin):.0f} ms"
        return {"clients": count, **others, "held then": asdict(server.held)}

    flags = ("--model-control-mode=explicit", "--load-model=identity", "--exit-timeout-secs=2")
    return under(repository, attack, flags, settle=0)


def stuck_at_the_end(repository: Path, count: int) -> Did:
    """SIGTERM for servers with a model that hangs in initialize, or in finalize, or in execute."""
    did: Did = {}
    for step in ("initialize", "finalize", "execute"):
        folder = repository / step
        add_model(folder, "stuck", _STUCK.replace("STEP", step))
        flags = ("--model-control-mode=explicit", "--load-model=identity", "--exit-timeout-secs=2")

        async def attack(server: Watched) -> Did:
            _, writer = await asyncio.open_connection(*server.address)
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(request("/v2/repository/models/stuck/load", {}))
            if step != "initialize":  # noqa: B023  (runs in this turn of the loop)
                await read_answer(reader)
                writer.write(request("/v2/models/stuck/infer", _ASKED))
            await asyncio.sleep(1)
            return {}

        did[step] = under(folder, attack, flags, settle=0)["ended"]
    return did


_BROKEN = {
    "prints a gigabyte": """
        for _ in range(1024):
            print("x" * 1048575)
""",
    "recurses": """
        self.execute(requests)
""",
    "recurses in C": """
        nested = []
        for _ in range(10**6):
            nested = [nested]
        json.dumps(nested)
""",
    "allocates more than there is": """
        bytearray(1 << 46)
""",
    "exits": """
        raise SystemExit(3)
""",
    "raises KeyboardInterrupt": """
        raise KeyboardInterrupt
""",
    "starts a thousand threads": """
        for _ in range(1000):
            threading.Thread(target=threading.Event().wait, daemon=True).start()
""",
}
_BODY = """
import json
import threading

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
{body}        return [pb_utils.InferenceResponse([]) for _ in requests]
"""


def broken_models(repository: Path, count: int) -> Did:
    """Models that print, recurse, allocate, exit and start threads, each asked once."""
    for number, body in enumerate(_BROKEN.values()):
        add_model(repository, f"broken_{number}", _BODY.format(body=body))

    async def attack(server: Watched) -> Did:
        did: Did = {}
        for number, what in enumerate(_BROKEN):
            begin = time.perf_counter()
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(request(f"/v2/models/broken_{number}/infer", _ASKED))
            try:
                status, body = await asyncio.wait_for(read_answer(reader), 120)
                text = f"{status} {body[:150].decode()}"
            except (TimeoutError, EOFError, OSError) as fault:
                text = f"unanswered, {type(fault).__name__}"
            writer.close()
            beside = json.dumps(server.beside()["health"]) if server.target.alive() else "the server is gone"
            did[what] = f"{text} after {time.perf_counter() - begin:.1f} s; beside {beside}"
        return did

    return under(repository, attack, settle=0)
