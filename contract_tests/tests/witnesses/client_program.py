"""A user's program with tritonclient, over HTTP and gRPC, blocking and asyncio. It prints what came back as JSON.

It is run by a Python that has one release of tritonclient and not this project: `client_program.py HTTP GRPC`, both as
host:port. The server has the models of the repository `small`.
"""

import asyncio
import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

NUMBERS = np.array([[1, 2, 3, 4]], dtype=np.int32)


def inputs(module: Any, *, binary: bool = True) -> list[Any]:
    """The inputs of the model `two`; over HTTP maybe as JSON."""
    made = []
    for name in ("INPUT0", "INPUT1"):
        tensor = module.InferInput(name, [1, 4], "INT32")
        if module is tritonclient.http:
            tensor.set_data_from_numpy(NUMBERS, binary_data=binary)
        else:
            tensor.set_data_from_numpy(NUMBERS)
        made.append(tensor)
    return made


def told(error: InferenceServerException) -> list[str]:
    return [error.status() or "", error.message()]


def refused(call: Any, *arguments: Any) -> list[str]:
    """Status and text of the error that a call raises."""
    try:
        call(*arguments)
    except InferenceServerException as error:
        return told(error)
    return ["", "no error"]


async def refused_later(answer: Any) -> list[str]:
    """The same of a coroutine."""
    try:
        await answer
    except InferenceServerException as error:
        return told(error)
    return ["", "no error"]


def version_of(metadata: Any) -> str:
    return str(metadata["version"])


def blocking_http(address: str) -> dict[str, Any]:
    client = tritonclient.http.InferenceServerClient(address)
    sums = [
        client.infer("two", inputs(tritonclient.http, binary=b)).as_numpy("OUTPUT0").tolist()
        for b in (True, False)
    ]
    output = tritonclient.http.InferRequestedOutput("OUTPUT0")
    return {
        "live": client.is_server_live(),
        "version": version_of(client.get_server_metadata()),
        "sums": sums,
        "two outputs of one name": refused(
            lambda: client.infer("two", inputs(tritonclient.http), outputs=[output, output])
        ),
        "an unknown model": refused(client.infer, "nope", inputs(tritonclient.http)),
        "a region": refused(client.register_system_shared_memory, "mine", "/no_such_key", 4),
    }


def blocking_grpc(address: str) -> dict[str, Any]:
    client = tritonclient.grpc.InferenceServerClient(address)
    streamed: list[Any] = []
    client.start_stream(
        lambda result, error: streamed.append(told(error) if error else result.as_numpy("OUT").tolist())
    )
    plan = tritonclient.grpc.InferInput("PLAN", [1], "BYTES")
    plan.set_data_from_numpy(np.array([b"text:a;text:b"], dtype=np.object_))
    client.async_stream_infer("dec", [plan])
    client.stop_stream()
    return {
        "live": client.is_server_live(),
        "version": version_of(client.get_server_metadata(as_json=True)),
        "sum": client.infer("two", inputs(tritonclient.grpc)).as_numpy("OUTPUT0").tolist(),
        "stream": [str(each) for each in streamed],
        "an unknown model": refused(client.infer, "nope", inputs(tritonclient.grpc)),
        "a region": refused(client.register_system_shared_memory, "mine", "/no_such_key", 4),
    }


async def with_asyncio(module: Any, address: str) -> dict[str, Any]:
    """`module` is `tritonclient.http` or `tritonclient.grpc`."""
    async with module.aio.InferenceServerClient(address) as client:
        result = await client.infer("two", inputs(module))
        return {
            "sum": result.as_numpy("OUTPUT0").tolist(),
            "an unknown model": await refused_later(client.infer("nope", inputs(module))),
        }


if __name__ == "__main__":
    http, grpc = sys.argv[1:]
    seen = {
        "blocking http": blocking_http(http),
        "blocking grpc": blocking_grpc(grpc),
        "asyncio http": asyncio.run(with_asyncio(tritonclient.http, http)),
        "asyncio grpc": asyncio.run(with_asyncio(tritonclient.grpc, grpc)),
    }
    sys.stdout.write(json.dumps(seen))
