"""The methods of the service as a table, and how a call becomes an answer or a status."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

import grpc

from triton_emulator.frontends.grpc import health, logging, models, repository, shared_memory, trace
from triton_emulator.frontends.grpc.access import Gate
from triton_emulator.frontends.grpc.infer import model_infer
from triton_emulator.frontends.grpc.messages import (
    HEALTH,
    SERVICE,
    health_class,
    message_class,
    parser,
    unparsable,
)
from triton_emulator.frontends.grpc.stream import Stream, model_stream_infer, shutting_down
from triton_emulator.frontends.threads import run_in_thread
from triton_emulator.protocol.errors import GRPC_STATUS, TritonError
from triton_emulator.repository.schema import Proto
from triton_emulator.session.state import SessionState

#: Answers a request or raises TritonError, which becomes the call's status.
Handler = Callable[[SessionState, Proto], Proto]
_UNIMPLEMENTED = 12


class Method(NamedTuple):
    """A method that takes one message and returns one.

    `category` is its name in `--grpc-restricted-protocol`. A method that `blocks` runs in a thread.
    """

    handler: Handler
    category: str
    blocks: bool = False


METHODS: dict[str, Method] = {
    "ServerLive": Method(models.server_live, "health"),
    "ServerReady": Method(models.server_ready, "health"),
    "ModelReady": Method(models.model_ready, "health"),
    "ServerMetadata": Method(models.server_metadata, "metadata"),
    "ModelMetadata": Method(models.model_metadata, "metadata"),
    "ModelConfig": Method(models.model_config, "model-config"),
    "ModelStatistics": Method(models.model_statistics, "statistics"),
    "RepositoryIndex": Method(repository.index, "model-repository", blocks=True),
    "RepositoryModelLoad": Method(repository.load, "model-repository", blocks=True),
    "RepositoryModelUnload": Method(repository.unload, "model-repository", blocks=True),
    "SystemSharedMemoryStatus": Method(shared_memory.system_status, "shared-memory"),
    "SystemSharedMemoryRegister": Method(shared_memory.system_register, "shared-memory"),
    "SystemSharedMemoryUnregister": Method(shared_memory.system_unregister, "shared-memory"),
    "CudaSharedMemoryStatus": Method(shared_memory.cuda_status, "shared-memory"),
    "CudaSharedMemoryRegister": Method(shared_memory.cuda_register, "shared-memory"),
    "CudaSharedMemoryUnregister": Method(shared_memory.cuda_unregister, "shared-memory"),
    "TraceSetting": Method(trace.setting, "trace"),
    "LogSettings": Method(logging.settings, "logging"),
}

#: how many seconds a stopping server waits for messages that clients have begun to send
_LAST_MESSAGE_S = 0.5


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Serves one session, and other sessions to calls whose metadata names them."""

    def __init__(self, root: SessionState, sessions: Mapping[str, SessionState]) -> None:
        self._gate = Gate(root, sessions)
        self._streams: set[Stream] = set()
        #: the calls whose message has not arrived yet
        self._readers: set[asyncio.Task[Any]] = set()
        self._draining = False
        self._handlers = {
            f"/{SERVICE}/{name}": self._unary(method, parser(message_class(f"{name}Request")))
            for name, method in METHODS.items()
        }
        check = Method(health.check, "health")
        self._handlers[f"/{HEALTH}/Check"] = self._unary(check, parser(health_class("HealthCheckRequest")))
        self._handlers[f"/{SERVICE}/ModelInfer"] = grpc.stream_unary_rpc_method_handler(self._infer)
        self._handlers[f"/{SERVICE}/ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._stream)
        self._unknown = grpc.stream_stream_rpc_method_handler(_unimplemented)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return self._handlers.get(details.method, self._unknown)

    def drain(self) -> None:
        """Read no more from open streams, and end each when all its requests are answered.

        After `_LAST_MESSAGE_S` seconds, calls whose message has not arrived are refused.
        """
        for stream in self._streams:
            stream.drain()
        asyncio.get_running_loop().call_later(_LAST_MESSAGE_S, self._stop_reading)

    def _stop_reading(self) -> None:
        self._draining = True
        for reader in self._readers:
            reader.cancel()

    def _unary(self, method: Method, parse: Callable[[bytes], Proto]) -> grpc.RpcMethodHandler:
        gate = self._gate
        handler, category, blocks = method

        async def serve(_: Any, context: Any) -> bytes:
            try:
                message = parse(await self._read(context))
                session = gate.admit(category, context)
                reply = (
                    await run_in_thread(handler, session, message) if blocks else handler(session, message)
                )
            except TritonError as error:
                return await _refuse(context, error)
            # 2.51 compresses only the answers to inferences; grpc.aio's setting is for the whole server
            context.disable_next_message_compression()
            answer: bytes = reply.SerializeToString()
            return answer

        return grpc.stream_unary_rpc_method_handler(serve)

    async def _infer(self, _: Any, context: Any) -> bytes:
        try:
            return await model_infer(self._gate, await self._read(context), context)
        except TritonError as error:
            return await _refuse(context, error)

    async def _stream(self, _: Any, context: Any) -> None:
        try:
            error = await model_stream_infer(self._gate, context, self._streams)
        except TritonError as fault:
            error = fault
        if error is not None:
            await _refuse(context, error)

    async def _read(self, context: Any) -> bytes:
        """Read the one message of a call. grpc.aio's own unary calls never end if the client sends no message."""
        if self._draining:
            raise shutting_down()
        reader = asyncio.current_task()
        assert reader is not None  # noqa: S101
        self._readers.add(reader)
        try:
            data: bytes = await context.read()
        except asyncio.CancelledError:
            if self._draining:
                raise shutting_down() from None
            raise
        finally:
            self._readers.discard(reader)
        if data is grpc.aio.EOF:
            raise unparsable()
        return data


async def _refuse(context: Any, error: TritonError) -> NoReturn:
    """End a call with a status and no message."""
    await context.abort(GRPC_STATUS[error.code], error.message)
    raise AssertionError


async def _unimplemented(_: Any, context: Any) -> None:
    # 2.51: no details, whatever the method
    await context.abort(_UNIMPLEMENTED)
