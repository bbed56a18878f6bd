"""NVIDIA's load generator measures both servers over both protocols and reads their statistics."""

import json
import urllib.request

import pytest

from triton_contract.reference.perf_analyzer import installed, measure
from triton_contract.reference.pytest_support import in_ci
from triton_contract.reference.wheel import ReferenceUnavailable
from triton_contract.targets import Target

SHAPE = ("--shape", "INPUT0:16")
#: length of a window in milliseconds
MILLISECONDS = 100


@pytest.fixture(scope="module", autouse=True)
def _perf_analyzer() -> None:
    try:
        installed()
    except ReferenceUnavailable as unavailable:
        message = f"no perf_analyzer: {unavailable}"
        if in_ci():
            pytest.fail(message, pytrace=False)
        pytest.skip(message)


def counts(server: Target, model: str) -> tuple[int, int]:
    """How many requests the model has answered, and how many inferences were in them."""
    with urllib.request.urlopen(
        f"http://{server.http.host}:{server.http.port}/v2/models/{model}/stats"
    ) as answer:
        statistics = json.load(answer)["model_stats"][0]
    return int(statistics["inference_stats"]["success"]["count"]), int(statistics["inference_count"])


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("http", ()),
        ("http", ("--shared-memory=system", "--output-shared-memory-size=64")),
        ("grpc", ()),
        ("grpc", ("--async", "--streaming")),
        ("grpc", ("--grpc-compression-algorithm=gzip",)),
        ("grpc", ("--shared-memory=system", "--output-shared-memory-size=64")),
    ],
    ids=[
        "http",
        "http shared memory",
        "grpc",
        "grpc stream",
        "grpc compressed",
        "grpc shared memory",
    ],
)
def test_it_measures_and_reads_the_statistics(
    server: Target, protocol: str, options: tuple[str, ...]
) -> None:
    address = server.grpc if protocol == "grpc" else f"{server.http.host}:{server.http.port}"
    assert address is not None
    before, _ = counts(server, "id_fp32")
    found = measure(
        "id_fp32", protocol, address, concurrency=4, milliseconds=MILLISECONDS, options=(*SHAPE, *options)
    )
    assert found.per_second > 0
    assert 0 < found.p50_us <= found.p99_us
    assert found.server_infer_us > 0
    assert counts(server, "id_fp32")[0] > before


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_it_adds_and_subtracts_in_batches(server: Target, protocol: str) -> None:
    address = server.grpc if protocol == "grpc" else f"{server.http.host}:{server.http.port}"
    assert address is not None
    requests, inferences = counts(server, "two")
    found = measure("two", protocol, address, concurrency=2, milliseconds=MILLISECONDS, options=("-b", "2"))
    assert found.per_second > 0
    assert found.server_infer_us > 0
    more_requests, more_inferences = counts(server, "two")
    assert more_requests > requests
    assert more_inferences - inferences == 2 * (more_requests - requests)


@pytest.mark.parametrize(
    ("protocol", "options"), [("http", ()), ("grpc", ()), ("grpc", ("--async", "--streaming"))]
)
def test_it_sends_sequences(server: Target, protocol: str, options: tuple[str, ...]) -> None:
    address = server.grpc if protocol == "grpc" else f"{server.http.host}:{server.http.port}"
    assert address is not None
    sequences = ("--sequence-length=5", "--input-data=zero")
    found = measure(
        "seq", protocol, address, concurrency=2, milliseconds=MILLISECONDS, options=(*sequences, *options)
    )
    assert found.per_second > 0
    assert found.server_infer_us > 0


def test_it_loads_an_asynchronous_stream_of_a_decoupled_model(
    server: Target, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = tmp_path_factory.mktemp("data") / "plan.json"
    data.write_text(json.dumps({"data": [{"PLAN": ["text_final:a"]}]}))
    assert server.grpc is not None
    options = ("--async", "--streaming", f"--input-data={data}")
    found = measure("dec", "grpc", server.grpc, concurrency=2, milliseconds=MILLISECONDS, options=options)
    assert found.per_second > 0
