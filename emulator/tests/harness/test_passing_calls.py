"""Calls over gRPC and requests over HTTP that end early, and metadata, in front of a server: both directions."""

import concurrent.futures
import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest

from emulator.tests.harness.test_upstream import PROMPT, called, prompt_message, raw
from triton_emulator import Emulator, fault


@pytest.fixture(scope="module")
def real() -> Iterator[Emulator]:
    """A server that can be looked at: an emulator."""
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def front(real: Emulator) -> Iterator[Emulator]:
    with Emulator(upstream=real.http_url, upstream_grpc=real.grpc_url) as emulator:
        yield emulator


STALLS = fault.stall(after_events=1)
PROMPTED = prompt_message("a").SerializeToString()


def test_a_stream_that_its_client_cancels_is_cancelled_at_the_server(real: Emulator, front: Emulator) -> None:
    plan = real.inject(fault.delay(600), operation="stream_infer")
    before = real.requests.where("stream_infer").count
    with grpc.insecure_channel(front.grpc_url) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(iter([PROMPTED]))
        end = time.monotonic() + 60
        while not plan.fired:  # until the server has the request
            assert time.monotonic() < end
        call.cancel()
        real.requests.where("stream_infer").wait_for(before + 1, timeout=60)
    assert real.requests.last.status == "CANCELLED"
    assert front.requests.where("stream_infer").wait_for(1, timeout=60).last.status == "CANCELLED"
    plan.remove()


def test_a_call_keeps_its_deadline(real: Emulator, front: Emulator) -> None:
    plan = real.inject(fault.delay(60), operation="server_metadata", protocol="grpc")
    with grpc.insecure_channel(front.grpc_url) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata")
        with pytest.raises(grpc.RpcError) as late:
            call(b"", timeout=0.5)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # the server hears of it, too
    assert real.requests.where("server_metadata").wait_for(1, timeout=30).last.status == "CANCELLED"
    plan.remove()


def test_a_request_whose_client_leaves_ends_at_the_server(real: Emulator, front: Emulator) -> None:
    plan = real.inject(STALLS, operation="generate_stream")
    address = urlsplit(front.http_url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(raw("POST", "/v2/models/vllm/generate_stream", json.dumps(PROMPT).encode()))
        connection.recv(10)
    assert real.requests.where("generate_stream").wait_for(1, timeout=60).last.complete
    assert front.requests.where("generate_stream").wait_for(1, timeout=60).last.upstream_error is None
    plan.remove()


def test_a_stream_that_the_server_ends_ends_for_the_client(real: Emulator, front: Emulator) -> None:
    plan = real.inject(fault.cut(after_events=2), operation="stream_infer")
    received, code, details, _ = called(front.grpc_url, "ModelStreamInfer", PROMPTED)
    assert (len(received), code, details) == (2, grpc.StatusCode.UNAVAILABLE, "Socket closed")
    entry = front.requests.where("stream_infer").last
    assert (len(entry.events), entry.status, entry.error) == (2, "UNAVAILABLE", "Socket closed")
    plan.remove()


class Generic(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Answers every method with what its metadata asks for."""

    def service(self, details: Any) -> Any:
        return grpc.stream_stream_rpc_method_handler(self.answer)

    def answer(self, messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
        asked = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-first", "1"), ("x-first-bin", b"\xff\0")))
        context.set_trailing_metadata((("x-last", "2"), ("grpc-status-details-bin", b"\x08\x05")))
        for message in messages:
            yield message + asked["x-tenant"].encode()
        if "x-fails" in asked:
            context.abort(grpc.StatusCode.DATA_LOSS, "lost: é")


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer", "NotOfTriton"])
@pytest.mark.parametrize("fails", [False, True], ids=["OK", "an error"])
def test_metadata_status_and_details_pass(real: Emulator, method: str, fails: bool) -> None:
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2), handlers=(Generic(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    metadata = [("x-tenant", "blue"), ("x-token-bin", b"\0\xff"), *([("x-fails", "1")] if fails else [])]
    given = []
    try:
        with Emulator(upstream=real.http_url, upstream_grpc=f"127.0.0.1:{port}") as front:
            for address in (f"127.0.0.1:{port}", front.grpc_url):
                with grpc.insecure_channel(address) as channel:
                    call = channel.stream_stream(f"/inference.GRPCInferenceService/{method}")
                    answered = call(iter([b"\x0a\x01m"]), metadata=metadata, timeout=60)
                    received = []
                    try:
                        received += answered
                    except grpc.RpcError:
                        # a call with one message has no message where it fails
                        received = [] if method == "ModelInfer" else received
                    first, last = answered.initial_metadata(), answered.trailing_metadata()
                    known = [
                        sorted((key, value) for key, value in each if key.startswith(("x-", "grpc-status")))
                        for each in (first, last)
                    ]
                    given.append((received, answered.code(), answered.details(), known))
    finally:
        server.stop(0).wait()
    assert given[0] == given[1]
    assert given[0][1] is (grpc.StatusCode.DATA_LOSS if fails else grpc.StatusCode.OK)
    assert given[0][3][0] == [("x-first", "1"), ("x-first-bin", b"\xff\0")]
    assert ("x-last", "2") in given[0][3][1]
