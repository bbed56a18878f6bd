"""What a fault does in a gRPC stream."""

import queue
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc

from triton_emulator import Session, fault


@pytest.mark.parametrize(
    "metadata,status",
    [
        pytest.param({}, None, id="a message without a status"),
        pytest.param(
            {"triton_grpc_error": "true"}, "StatusCode.RESOURCE_EXHAUSTED", id="the end of the stream"
        ),
    ],
)
def test_an_error_is_what_the_client_has_asked_for(
    triton: Session, metadata: dict[str, str], status: str | None
) -> None:
    triton.inject(fault.error("RESOURCE_EXHAUSTED", "full"), operation="stream_infer")
    tensor = tritonclient.grpc.InferInput("INPUT0", [1], "FP32")
    tensor.set_data_from_numpy(np.zeros(1, np.float32))
    answers: queue.Queue[Any] = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
        client.start_stream(lambda result, error: answers.put(error or result), headers=metadata)
        client.async_stream_infer("identity_fp32", [tensor])
        error = answers.get(timeout=60)
    assert (error.status(), error.message()) == (status, "full")
    assert triton.requests.last.error == "full"
