"""Attacks over gRPC: streams left open, calls that are cancelled, deadlines of a microsecond."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from itertools import cycle
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from benchmarks.attacks.connections import DECOUPLED, STREAMING, ending, gather
from benchmarks.attacks.watched import Did, Watched, add_model, under

SERVICE = "/inference.GRPCInferenceService"
#: streams of one connection
_EACH = 500
OWN = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


def message(model: str, count: int = 16) -> bytes:
    """A ModelInferRequest with `count` floats."""
    asked = pb.ModelInferRequest(model_name=model)
    entry = asked.inputs.add(name="INPUT0", datatype="FP32", shape=(count,))
    entry.contents.fp32_contents.extend([0.5] * count)
    encoded: bytes = asked.SerializeToString()
    return encoded


async def _open(
    server: Watched, count: int, channels: list[grpc.aio.Channel]
) -> tuple[list[Any], Counter[str]]:
    """Open so many streams: every second one sends a request, reads its answer and stays open as well."""

    async def requests(sent: bytes) -> AsyncIterator[bytes]:
        if sent:
            yield sent
        await asyncio.Event().wait()

    async def stay(number: int) -> str:
        sent = message("identity") if number % 2 else b""
        call = channels[number // _EACH].stream_stream(f"{SERVICE}/ModelStreamInfer")(requests(sent))
        calls.append(call)
        if sent:
            answer = pb.ModelStreamInferResponse.FromString(await call.read())
            return answer.error_message or "open, one answer"
        await call.wait_for_connection()
        return "open"

    calls: list[Any] = []
    channels += [
        grpc.aio.insecure_channel(server.grpc, options=OWN) for _ in range((count + _EACH - 1) // _EACH)
    ]
    found = await gather([stay(number) for number in range(count)], 200)
    return calls, found


def open_streams(repository: Path, count: int) -> Did:
    """ModelStreamInfer streams that stay open, half of them after an answer; then all are cancelled at once."""

    async def attack(server: Watched) -> Did:
        channels: list[grpc.aio.Channel] = []
        calls, found = await _open(server, count, channels)
        server_then, beside_opening = server.held, server.beside()
        await asyncio.sleep(10)
        beside_open = server.beside()
        for call in calls:
            call.cancel()
        for channel in channels:
            await channel.close()
        return {
            "streams": count,
            **found,
            "MiB then": server_then.resident_mib,
            "descriptors then": server_then.descriptors,
            "beside while they open": beside_opening,
            "beside while they are open": beside_open,
        }

    return under(repository, attack)


def streams_open_at_the_end(repository: Path, count: int) -> Did:
    """The same streams while the server gets SIGTERM."""

    async def attack(server: Watched) -> Did:
        channels: list[grpc.aio.Channel] = []
        calls, found = await _open(server, count, channels)
        ended = await asyncio.to_thread(server.end)
        del calls
        return {"streams": count, **found, "ended": ended}

    return ending(repository, attack)


def cancels(repository: Path, count: int) -> Did:
    """Calls and streams that are cancelled at once, after a moment, or after their first response."""
    add_model(repository, "streaming", STREAMING, DECOUPLED)

    async def attack(server: Watched) -> Did:
        async with grpc.aio.insecure_channel(server.grpc, options=OWN) as channel:

            async def unary(wait: bool) -> str:
                call = channel.unary_unary(f"{SERVICE}/ModelInfer")(message("identity"))
                if wait:
                    await call.wait_for_connection()
                    await asyncio.sleep(0)
                call.cancel()
                return "cancelled"

            async def stream(until: bool) -> str:
                async def requests() -> AsyncIterator[bytes]:
                    yield message("streaming")
                    await asyncio.Event().wait()

                call = channel.stream_stream(f"{SERVICE}/ModelStreamInfer")(requests())
                if until:
                    await call.read()
                call.cancel()
                return "cancelled"

            ways = ((unary, False), (unary, True), (stream, False), (stream, True))
            works = [call(late) for _, (call, late) in zip(range(count), cycle(ways), strict=False)]
            return {"calls": count, **await gather(works, 100)}

    return under(repository, attack)


def deadlines(repository: Path, count: int) -> Did:
    """ModelInfer calls with a deadline that is over before the server reads them, set in the metadata of the call."""

    async def attack(server: Watched) -> Did:
        async with grpc.aio.insecure_channel(server.grpc, options=OWN) as channel:

            async def call(seconds: float) -> str:
                try:
                    await channel.unary_unary(f"{SERVICE}/ModelInfer")(message("identity"), timeout=seconds)
                except grpc.aio.AioRpcError as error:
                    return str(error.code().name)
                return "OK"

            works = [
                call(seconds) for _, seconds in zip(range(count), cycle((1e-6, 1e-3, 5e-3)), strict=False)
            ]
            return {"calls": count, **await gather(works, 200)}

    return under(repository, attack)
