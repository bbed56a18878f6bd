"""Several workers on one port: their start, their shares of the connections, the sums of what they count."""

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.grpc import service_pb2, service_pb2_grpc

from emulator.tests.workers.serving import ASK, ended, process_of, serving


def connection_to(url: str) -> HTTPConnection:
    host, _, port = url.removeprefix("http://").partition(":")
    return HTTPConnection(host, int(port), timeout=60)


def get(connection: HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body
    return body


def channel_of(stack: ExitStack, address: str) -> grpc.Channel:
    """A connection that no other channel uses."""
    return stack.enter_context(
        grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
    )


def counters(text: str) -> dict[str, int]:
    """The counts of the model `double` on the metrics port."""
    found = re.findall(r'^(\w+)\{model="double",version="1"\} (\d+)$', text, re.MULTILINE)
    return {name: int(value) for name, value in found}


def test_the_start_is_logged_once_and_ends_when_all_workers_are_ready(repository: Path) -> None:
    with serving(repository, "--workers=3") as server:
        assert len(server.workers) == 3
        assert server.log.count("| Model  | Version | Status |") == 1
        assert server.log.count("| server_id ") == 1
        assert len(re.findall("Started 3 workers", server.log)) == 1
        assert len(re.findall("Started HTTPService", server.log)) == 1
        assert httpx.get(f"{server.http}/v2/health/ready").status_code == 200


@pytest.mark.parametrize("version", ["2.51.0", "2.72.0"])
def test_each_worker_has_its_share_of_the_connections_over_http(repository: Path, version: str) -> None:
    flags = ("--workers=3", "--log-verbose=1", f"--triton-version={version}")
    with serving(repository, *flags) as server, ExitStack() as stack:
        connections = [connection_to(server.http) for _ in range(12)]
        for connection in connections:
            stack.callback(connection.close)
            get(connection, "/v2/health/live")
        lines = [server.wait_for("HTTP request: 0 /v2/health/live") for _ in connections]
        shares = Counter(map(process_of, lines))
        assert shares == dict.fromkeys(server.workers, 4)


def test_a_connection_stays_with_its_worker(repository: Path) -> None:
    with serving(repository, "--workers=2", "--log-verbose=1") as server:
        connection = connection_to(server.http)
        for _ in range(5):
            get(connection, "/v2")
        connection.close()
        lines = [server.wait_for("HTTP request: 0 /v2") for _ in range(5)]
        assert len(set(map(process_of, lines))) == 1


def test_every_worker_has_the_sum_of_all_over_http(repository: Path) -> None:
    with serving(repository, "--workers=3") as server, ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(timeout=60)) for _ in range(9)]
        url = f"{server.http}/v2/models/double/infer"

        def ask(client: httpx.Client) -> None:
            for _ in range(20):
                client.post(url, json=ASK).raise_for_status()

        with ThreadPoolExecutor(len(clients)) as threads:
            list(threads.map(ask, clients))
        connections = [connection_to(server.http) for _ in range(3)]  # one to each worker
        for connection in connections:
            stack.callback(connection.close)
            (found,) = json.loads(get(connection, "/v2/models/double/stats"))["model_stats"]
            assert (found["inference_count"], found["execution_count"]) == (180, 180)
            assert found["inference_stats"]["success"]["count"] == 180
            assert [(row["batch_size"], row["compute_infer"]["count"]) for row in found["batch_stats"]] == [
                (1, 180)
            ]
        listed = json.loads(get(connections[0], "/v2/models/stats"))["model_stats"]
        assert [(row["name"], row["inference_count"]) for row in listed] == [("double", 180), ("llm", 0)]
        shown = counters(httpx.get(server.metrics).text)
        assert shown["nv_inference_request_success"] == 180
        assert shown["nv_inference_count"] == shown["nv_inference_exec_count"] == 180
        assert shown["nv_inference_pending_request_count"] == 0


def test_a_client_is_counted_as_soon_as_it_has_its_answer(repository: Path) -> None:
    with serving(repository, "--workers=2") as server, ExitStack() as stack:
        asking, other = (stack.enter_context(httpx.Client(timeout=60)) for _ in range(2))
        other.get(f"{server.http}/v2/health/live")  # now the two connections are those of two workers
        for count in range(1, 51):
            asking.post(
                f"{server.http}/v2/models/llm/generate_stream", json={"text_input": "hi", "stream": True}
            ).raise_for_status()
            (found,) = other.get(f"{server.http}/v2/models/llm/stats").json()["model_stats"]
            assert found["inference_stats"]["success"]["count"] == count


def test_every_worker_has_the_sum_of_all_over_grpc(repository: Path) -> None:
    with serving(repository, "--workers=3") as server, ExitStack() as stack:
        message = service_pb2.ModelInferRequest(model_name="double")
        message.inputs.add(name="X", datatype="FP32", shape=[2]).contents.fp32_contents.extend([1, 2])
        channels = [channel_of(stack, server.grpc) for _ in range(16)]
        for channel in channels:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            for _ in range(5):
                stub.ModelInfer(message)
        asked = service_pb2.ModelStatisticsRequest(name="double")
        for channel in channels:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            (found,) = stub.ModelStatistics(asked).model_stats
            assert (found.inference_count, found.execution_count) == (80, 80)
            assert found.inference_stats.success.count == 80
        assert (
            httpx.get(f"{server.http}/v2/models/double/stats").json()["model_stats"][0]["execution_count"]
            == 80
        )


def test_both_protocols_are_added_up_for_the_client_of_triton(repository: Path) -> None:
    with (
        serving(repository, "--workers=2") as server,
        grpcclient.InferenceServerClient(server.grpc) as client,
    ):
        tensor = grpcclient.InferInput("X", [2], "FP32")
        tensor.set_data_from_numpy(np.array([1, 2], np.float32))
        assert client.infer("double", [tensor]).as_numpy("Y").shape == (1,)
        httpx.post(f"{server.http}/v2/models/double/infer", json=ASK).raise_for_status()
        (found,) = client.get_inference_statistics("double").model_stats
        assert found.inference_count == 2


def test_summaries_are_those_of_all_workers(repository: Path) -> None:
    with serving(repository, "--workers=2", "--metrics-config=summary_latencies=true") as server:
        for _ in range(4):  # each over a connection of its own
            httpx.post(f"{server.http}/v2/models/double/infer", json=ASK).raise_for_status()
        text = httpx.get(server.metrics).text
        assert 'nv_inference_request_summary_us_count{model="double",version="1"} 4' in text
        quantiles = re.findall(
            r'^nv_inference_request_summary_us\{model="double".* (\w+)$', text, re.MULTILINE
        )
        assert len(quantiles) == 5
        assert all(value.isdecimal() for value in quantiles)


def test_an_ensemble_of_stand_ins_is_served(repository: Path) -> None:
    folder = repository / "twice"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text("""
platform: "ensemble"
input { name: "X" data_type: TYPE_FP32 dims: [ 2 ] }
output { name: "Z" data_type: TYPE_FP32 dims: [ 1 ] }
ensemble_scheduling { step {
  model_name: "double" model_version: 1
  input_map { key: "X" value: "X" } output_map { key: "Y" value: "Z" }
} }
""")
    with serving(repository, "--workers=2") as server:
        for _ in range(4):
            httpx.post(f"{server.http}/v2/models/twice/infer", json=ASK).raise_for_status()
        listed = httpx.get(f"{server.http}/v2/models/stats").json()["model_stats"]
        counts = {row["name"]: row["execution_count"] for row in listed}
        assert counts == {"double": 4, "llm": 0, "twice": 4}


def test_the_metrics_port_answers_other_paths_and_methods_as_that_of_one_process(repository: Path) -> None:
    answers = {}
    for count in (1, 2):
        with serving(repository, f"--workers={count}") as server:
            root = server.metrics.removesuffix("/metrics")
            asked = [
                httpx.get(f"{root}/"),
                httpx.get(f"{root}/s/abc/metrics"),
                httpx.post(f"{root}/metrics"),
                httpx.get(f"{root}/metrics/"),
            ]
            answers[count] = [(answer.status_code, answer.headers["content-type"]) for answer in asked]
            names = re.findall(r"^# TYPE .*$", asked[-1].text, re.MULTILINE)
            assert "# TYPE nv_inference_count counter" in names
            answers[count].append((0, "\n".join(names)))
    assert answers[1] == answers[2]


def test_a_port_that_another_server_has_is_refused(repository: Path) -> None:
    with serving(repository, "--workers=2") as server:
        http, grpc_port = server.http.rpartition(":")[2], server.grpc.rpartition(":")[2]
        code, printed = ended(repository, "--workers=2", f"--http-port={http}")
        assert code == 1
        assert f"Socket '127.0.0.1:{http}' already in use; choose another with --http-port" in printed
        code, printed = ended(repository, "--workers=2", f"--grpc-port={grpc_port}")
        assert code == 1
        assert f"Socket '127.0.0.1:{grpc_port}' already in use; choose another with --grpc-port" in printed


def test_one_worker_is_the_server_itself(repository: Path) -> None:
    with serving(repository, "--workers=1") as server:
        assert server.workers == []
        assert "workers" not in server.log
        assert httpx.post(f"{server.http}/v2/logging", json={"log_info": False}).status_code == 200


def test_a_listener_may_be_turned_off(repository: Path) -> None:
    with serving(repository, "--workers=2", "--allow-grpc=false") as server:
        assert server.grpc == ""
        assert httpx.get(f"{server.http}/v2/health/ready").status_code == 200
    with (
        serving(repository, "--workers=2", "--allow-http=false") as server,
        grpcclient.InferenceServerClient(server.grpc) as client,
    ):
        assert client.is_server_ready()
