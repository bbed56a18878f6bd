"""The methods of the service as a table, and how a call becomes an answer or a status."""

import asyncio
import logging as logs
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, NoReturn

import grpc

from triton_emulator.frontends.grpc import (
    faults,
    health,
    logging,
    models,
    passing,
    repository,
    shared_memory,
    trace,
)
from triton_emulator.frontends.grpc.access import Gate
from triton_emulator.frontends.grpc.entries import Answer, GrpcEntry, watched
from triton_emulator.frontends.grpc.faults import Ended
from triton_emulator.frontends.grpc.infer import model_infer
from triton_emulator.frontends.grpc.messages import (
    HEALTH,
    SERVICE,
    encode,
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

_LOG = logs.getLogger(__name__)

#: Answers a request or raises TritonError, which becomes the call's status.
Handler = Callable[[SessionState, Proto], Proto]
_UNIMPLEMENTED = 12


class Method(NamedTuple):
    """A method that takes one message and returns one.

    `category` is its name in `--grpc-restricted-protocol`. A method that `blocks` runs in a thread. One that
    `asks_models` whether they are ready, or `asks_workers` what they have counted, does so where that may block.
    """

    handler: Handler
    category: str
    blocks: bool = False
    asks_models: bool = False
    asks_workers: bool = False


METHODS: dict[str, Method] = {
    "ServerLive": Method(models.server_live, "health"),
    "ServerReady": Method(models.server_ready, "health", asks_models=True),
    "ModelReady": Method(models.model_ready, "health", asks_models=True),
    "ServerMetadata": Method(models.server_metadata, "metadata"),
    "ModelMetadata": Method(models.model_metadata, "metadata"),
    "ModelConfig": Method(models.model_config, "model-config"),
    "ModelStatistics": Method(models.model_statistics, "statistics", asks_workers=True),
    "RepositoryIndex": Method(repository.index, "model-repository", blocks=True),
    "RepositoryModelLoad": Method(repository.load, "model-repository", blocks=True),
    "RepositoryModelUnload": Method(repository.unload, "model-repository", blocks=True),
    "SystemSharedMemoryStatus": Method(shared_memory.system_status, "shared-memory"),
    "SystemSharedMemoryRegister": Method(shared_memory.system_register, "shared-memory"),
    "SystemSharedMemoryUnregister": Method(shared_memory.system_unregister, "shared-memory"),
    "CudaSharedMemoryStatus": Method(shared_memory.cuda_status, "shared-memory"),
    "CudaSharedMemoryRegister": Method(shared_memory.cuda_register, "shared-memory"),
    "CudaSharedMemoryUnregister": Method(shared_memory.cuda_unregister, "shared-memory"),
    "TraceSetting": Method(trace.setting, "trace", asks_models=True),
    "LogSettings": Method(logging.settings, "logging"),
}

#: the names of methods in 2.51's log, where they are others
_HANDLER_NAMES = {"ModelInfer": "ModelInferHandler", "ModelStreamInfer": "ModelStreamInferHandler"}

#: how many seconds a stopping server waits for messages that clients have begun to send
_LAST_MESSAGE_S = 0.5


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Serves one session, and other sessions to calls whose metadata names them."""

    def __init__(self, root: SessionState, sessions: Mapping[str, SessionState]) -> None:
        self._root = root
        self._gate = Gate(root, sessions)
        self._streams: set[Stream] = set()
        #: the calls whose message has not arrived yet
        self._readers: set[asyncio.Task[Any]] = set()
        self._draining = False
        self._handlers = {
            f"/{SERVICE}/{name}": self._unary(name, method, parser(message_class(f"{name}Request")))
            for name, method in METHODS.items()
        }
        check = Method(health.check, "health", asks_models=True)
        self._handlers[f"/{HEALTH}/Check"] = self._unary(
            "Check", check, parser(health_class("HealthCheckRequest"))
        )
        self._handlers[f"/{SERVICE}/ModelInfer"] = grpc.stream_unary_rpc_method_handler(
            partial(self._serve, "ModelInfer", self._infer)
        )
        self._handlers[f"/{SERVICE}/ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._stream)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        if self._root.log_settings.verbose_level:
            name = details.method.rpartition("/")[2]
            _LOG.debug("Process for %s, rpc_ok=1, 0 step START", _HANDLER_NAMES.get(name, name))
        handler = self._handlers.get(details.method)
        return handler or grpc.stream_stream_rpc_method_handler(partial(self._other, details.method))

    def cut(self, session: str) -> None:
        """End the calls whose metadata names this session."""
        self._gate.cut(session)

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

    def _unary(self, name: str, method: Method, parse: Callable[[bytes], Proto]) -> grpc.RpcMethodHandler:
        gate = self._gate
        handler, category, blocks, asks_models, asks_workers = method

        async def answer(session: SessionState, data: bytes, context: Any, entry: GrpcEntry | None) -> bytes:
            # 2.51 compresses only the answers to inferences; grpc.aio's setting is for the whole server
            context.disable_next_message_compression()
            message = parse(data)
            if entry is not None and (given := await faults.answered(entry, message, session)) is not None:
                return given
            gate.admit(category, session, context)
            if (
                blocks
                or (asks_models and session.readiness_blocks)
                or (asks_workers and session.totals is not None)
            ):
                return encode(await run_in_thread(handler, session, message))
            return encode(handler(session, message))

        return grpc.stream_unary_rpc_method_handler(partial(self._serve, name, answer))

    async def _infer(
        self, session: SessionState, data: bytes, context: Any, entry: GrpcEntry | None
    ) -> bytes:
        return await model_infer(self._gate, session, data, context, entry)

    async def _serve(self, name: str, answer: Answer, _: Any, context: Any) -> bytes:
        """Serve a call with one message and one answer."""
        try:
            session = self._gate.find(context)
            if session.harness is None:
                # the message has no name here: what answers frees it when it has its own copy
                return await answer(session, await self._read(context), context, None)
            data = await self._read(context)
            if session.passes:
                path = f"/{HEALTH if name == 'Check' else SERVICE}/{name}"
                answer = partial(passing.answer, path, name, answer)
            return await watched(session.harness, session, name, data, context, answer)
        except (TritonError, Ended, asyncio.CancelledError) as fault:
            refusal = self._refusal(fault)
        return await _abort(context, *refusal)

    async def _stream(self, _: Any, context: Any) -> None:
        try:
            session = self._gate.find(context)
            if session.passes:
                await passing.stream(f"/{SERVICE}/ModelStreamInfer", session, context, self._gate)
                error = None
            else:
                error = await model_stream_infer(self._gate, session, context, self._streams)
        except (TritonError, Ended, asyncio.CancelledError) as fault:
            refusal = self._refusal(fault)
        else:
            if error is None:
                return
            refusal = self._refusal(error)
        await _abort(context, *refusal)

    async def _other(self, path: str, _: Any, context: Any) -> None:
        """Serve a method that there is not."""
        # 2.51: no details, whatever the method
        refusal = _UNIMPLEMENTED, ""
        try:
            session = self._gate.find(context)
            if session.upstream is not None:
                await passing.stream(path, session, context, self._gate)
                return
        except (TritonError, Ended, asyncio.CancelledError) as fault:
            refusal = self._refusal(fault)
        await _abort(context, *refusal)

    def _refusal(self, fault: TritonError | Ended | asyncio.CancelledError) -> tuple[int, str]:
        """The status number and the details for a call that ends with this fault.

        A call that its client has cancelled needs no status: the fault is raised again. One that `cut` has cancelled
        gets none from gRPC.
        """
        if isinstance(fault, Ended):
            return fault.status, fault.details
        if isinstance(fault, asyncio.CancelledError):
            if not self._gate.was_cut():
                raise fault
            fault = shutting_down()
        # 2.51 sends bytes that are no UTF-8 as they are; grpc.aio cannot
        text = fault.message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return GRPC_STATUS[fault.code], text

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


async def _abort(context: Any, status: int, details: str) -> NoReturn:
    """End a call with a status and no message. To be called when no exception is being handled.

    grpc.aio keeps the exception that it raises here, with its context: an exception that is being handled, which refers
    to all that the call's functions had in their variables, would be kept until the next garbage collection.
    """
    await context.abort(status, details)
    raise AssertionError
