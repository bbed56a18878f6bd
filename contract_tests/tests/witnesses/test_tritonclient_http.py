"""NVIDIA's HTTP clients, blocking and asyncio: every method gives equal results on both servers."""

import asyncio
import json
import queue
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import ml_dtypes
import numpy as np
import pytest
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

from contract_tests.tests.witnesses.clients import connect, output, tensor
from triton_contract.targets import Target

NUMBERS = {
    "BOOL": np.array([True, False, True]),
    "INT8": np.array([-128, 0, 127], dtype=np.int8),
    "INT16": np.array([-32768, 0, 32767], dtype=np.int16),
    "INT32": np.array([-(2**31), 0, 2**31 - 1], dtype=np.int32),
    "INT64": np.array([-(2**63), 0, 2**63 - 1], dtype=np.int64),
    "UINT8": np.array([0, 1, 255], dtype=np.uint8),
    "UINT16": np.array([0, 1, 65535], dtype=np.uint16),
    "UINT32": np.array([0, 1, 2**32 - 1], dtype=np.uint32),
    "UINT64": np.array([0, 1, 2**64 - 1], dtype=np.uint64),
    "FP32": np.array([0.1, -1e-7, 3.4e38], dtype=np.float32),
    "FP64": np.array([0.1, -1e-300, 1.5e308]),
}
FOUR = np.arange(4, dtype=np.int32).reshape(1, 4)


@pytest.fixture(params=["blocking", "asyncio"])
def client(request: pytest.FixtureRequest, server: Target) -> Iterator[Any]:
    made = connect(request.param, server)
    yield made
    made.close()


def two_inputs(**options: Any) -> list[Any]:
    return [tensor("INPUT0", "INT32", FOUR, **options), tensor("INPUT1", "INT32", FOUR + 1, **options)]


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds: an unload continues after its answer. The test's timeout is the limit."""
    while not condition():
        pass


# --- health, metadata, configuration -------------------------------------------------------------------------------


def test_server_and_models_are_live_and_ready(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("two")
    assert client.is_model_ready("versions", "2")
    assert not client.is_model_ready("versions", "1")
    assert not client.is_model_ready("nope")


def test_server_metadata_names_the_version_and_the_extensions(client: Any) -> None:
    metadata = client.get_server_metadata()
    assert (metadata["name"], metadata["version"]) == ("triton", "2.51.0")
    assert metadata["extensions"] == [
        "classification",
        "sequence",
        "model_repository",
        "model_repository(unload_dependents)",
        "schedule_policy",
        "model_configuration",
        "system_shared_memory",
        "cuda_shared_memory",
        "binary_tensor_data",
        "parameters",
        "statistics",
        "trace",
        "logging",
    ]


def test_model_metadata_shows_the_batch_dimension(client: Any) -> None:
    assert client.get_model_metadata("two") == {
        "name": "two",
        "versions": ["1"],
        "platform": "python",
        "inputs": [
            {"name": "INPUT0", "datatype": "INT32", "shape": [-1, 4]},
            {"name": "INPUT1", "datatype": "INT32", "shape": [-1, 4]},
        ],
        "outputs": [
            {"name": "OUTPUT0", "datatype": "INT32", "shape": [-1, 4]},
            {"name": "OUTPUT1", "datatype": "INT32", "shape": [-1, 4]},
        ],
    }
    assert client.get_model_metadata("versions")["versions"] == ["2", "3"]
    assert client.get_model_metadata("versions", "3")["versions"] == ["3"]


def test_model_config_shows_the_dims_of_the_file(client: Any) -> None:
    config = client.get_model_config("two")
    assert (config["name"], config["backend"], config["max_batch_size"]) == ("two", "python", 8)
    assert config["input"][1]["dims"] == [4]
    assert config["input"][1]["data_type"] == "TYPE_INT32"


def test_statistics_count_an_inference_and_its_rows_since_a_load(client: Any) -> None:
    def counted() -> tuple[int, int, int]:
        (entry,) = client.get_inference_statistics("two")["model_stats"]
        return (
            entry["inference_count"],
            entry["execution_count"],
            entry["inference_stats"]["success"]["count"],
        )

    client.unload_model("two")  # the real server may still count a request of an earlier test
    until(lambda: not client.is_model_ready("two"))
    client.load_model("two")
    rows = np.zeros((3, 4), dtype=np.int32)
    client.infer("two", [tensor("INPUT0", "INT32", rows), tensor("INPUT1", "INT32", rows)])
    # The real server counts executions after it has counted inferences.
    until(lambda: counted() == (3, 1, 1))
    names = {entry["name"] for entry in client.get_inference_statistics()["model_stats"]}
    assert {"two", "echo", "id_bytes"} <= names


# --- repository ----------------------------------------------------------------------------------------------------


def test_repository_index_lists_every_version(client: Any) -> None:
    index = client.get_model_repository_index()
    assert {"name": "id_int8", "version": "1", "state": "READY"} in index
    assert [entry["version"] for entry in index if entry["name"] == "versions"] == ["2", "3"]


def test_a_model_is_unloaded_and_loaded_again(client: Any) -> None:
    client.unload_model("id_int16")
    until(lambda: not client.is_model_ready("id_int16"))
    with pytest.raises(
        InferenceServerException, match="Request for unknown model: 'id_int16' has no available versions"
    ):
        client.infer("id_int16", [tensor("INPUT0", "INT16", NUMBERS["INT16"])])
    client.load_model("id_int16")
    assert client.is_model_ready("id_int16")


def test_a_model_is_loaded_with_another_configuration(client: Any) -> None:
    config = client.get_model_config("id_int8")
    config["max_batch_size"] = 5
    client.load_model("id_int8", config=json.dumps(config))
    assert client.get_model_config("id_int8")["max_batch_size"] == 5
    assert client.get_model_metadata("id_int8")["inputs"][0]["shape"] == [-1, -1]
    client.load_model(
        "id_int8"
    )  # a load without a configuration: the files have not changed, so nothing is loaded
    assert client.get_model_config("id_int8")["max_batch_size"] == 5
    client.load_model("id_int8", config=json.dumps({**config, "max_batch_size": 0}))
    assert client.get_model_metadata("id_int8")["inputs"][0]["shape"] == [-1]


MADE_UP = """
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        seven = lambda r: pb_utils.get_input_tensor_by_name(r, "IN").as_numpy() + 7
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", seven(r))]) for r in requests]
"""


def test_a_model_is_loaded_from_the_files_of_a_request(client: Any) -> None:
    config = {
        "backend": "python",
        "input": [{"name": "IN", "data_type": "TYPE_INT64", "dims": [-1]}],
        "output": [{"name": "OUT", "data_type": "TYPE_INT64", "dims": [-1]}],
    }
    client.load_model("made_up", config=json.dumps(config), files={"file:1/model.py": MADE_UP.encode()})
    answer = client.infer("made_up", [tensor("IN", "INT64", np.array([1, 2]))])
    assert answer.as_numpy("OUT").tolist() == [8, 9]
    client.unload_model("made_up")
    until(lambda: not client.is_model_ready("made_up"))


def test_loading_an_unknown_model_is_refused(client: Any) -> None:
    with pytest.raises(InferenceServerException) as refusal:
        client.load_model("nope")
    assert refusal.value.status() == "500"
    assert refusal.value.message() == "failed to load 'nope', failed to poll from model repository"


# --- settings ------------------------------------------------------------------------------------------------------


def test_log_settings_are_changed_and_shown(client: Any) -> None:
    before = client.get_log_settings()
    assert set(before) == {
        "log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format",
    }  # fmt: skip
    changed = client.update_log_settings({"log_verbose_level": 1, "log_warning": False})
    assert changed == {**before, "log_verbose_level": 1, "log_warning": False}
    assert (
        client.update_log_settings({key: before[key] for key in ("log_verbose_level", "log_warning")})
        == before
    )


def test_trace_settings_of_a_model_are_its_own_until_they_are_cleared(client: Any) -> None:
    shared = client.get_trace_settings()
    own = client.update_trace_settings(model_name="two", settings={"trace_rate": "17"})
    assert own == {**shared, "trace_rate": "17"}
    assert client.get_trace_settings() == shared
    assert client.update_trace_settings(model_name="two", settings={"trace_rate": None}) == shared


# --- inference -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["binary", "json"])
@pytest.mark.parametrize("into", ["binary", "json"])
@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_come_back_as_they_went(client: Any, datatype: str, into: str, out: str) -> None:
    array = NUMBERS[datatype]
    answer = client.infer(
        f"id_{datatype.lower()}",
        [tensor("INPUT0", datatype, array, binary=into == "binary")],
        outputs=[output("OUTPUT0", binary=out == "binary")],
    )
    back = answer.as_numpy("OUTPUT0")
    assert (back.dtype, back.tolist()) == (array.dtype, array.tolist())
    assert answer.get_response()["outputs"][0]["datatype"] == datatype


@pytest.mark.parametrize("out", ["binary", "json"])
@pytest.mark.parametrize("into", ["binary", "json"])
def test_strings_come_back_as_they_went(client: Any, into: str, out: str) -> None:
    strings = np.array(["", "grüße", 'a "quoted"\nline', "日本"], dtype=np.object_)
    answer = client.infer(
        "id_bytes",
        [tensor("INPUT0", "BYTES", strings, binary=into == "binary")],
        outputs=[output("OUTPUT0", binary=out == "binary")],
    )
    back = answer.as_numpy("OUTPUT0").tolist()  # the client decodes only outputs that come as JSON
    assert back == (strings.tolist() if out == "json" else [text.encode() for text in strings])


def test_bytes_that_are_not_utf8_come_back_in_binary(client: Any) -> None:
    raw = np.array([b"\xff\x00\xfe"], dtype=np.object_)
    answer = client.infer("id_bytes", [tensor("INPUT0", "BYTES", raw)], outputs=[output("OUTPUT0")])
    assert answer.as_numpy("OUTPUT0").tolist() == [b"\xff\x00\xfe"]


@pytest.mark.parametrize("datatype, kind", [("FP16", np.float16), ("BF16", ml_dtypes.bfloat16)])
def test_halves_come_back_in_binary(client: Any, datatype: str, kind: type) -> None:
    array: Any = np.array([0.5, -2.0, 65280.0], dtype=kind)
    answer = client.infer(
        f"id_{datatype.lower()}", [tensor("INPUT0", datatype, array)], outputs=[output("OUTPUT0")]
    )
    assert answer.as_numpy("OUTPUT0").tolist() == [0.5, -2.0, 65280.0]
    assert answer.get_output("OUTPUT0")["parameters"] == {"binary_data_size": 6}


def test_halves_cannot_come_back_as_json(client: Any) -> None:
    halves = tensor("INPUT0", "FP16", np.array([0.5], dtype=np.float16))
    with pytest.raises(InferenceServerException) as refusal:
        client.infer("id_fp16", [halves], outputs=[output("OUTPUT0", binary=False)])
    assert refusal.value.message() == (
        "sending FP16 data via JSON is not supported. Please use the binary data format for output"
    )


def test_the_top_classes_come_with_their_labels(client: Any) -> None:
    scores = np.array([[0.25, 4.0, -1.0, 2.5]], dtype=np.float32)
    answer = client.infer(
        "labels", [tensor("INPUT0", "FP32", scores)], outputs=[output("OUTPUT0", classes=3)]
    )
    assert answer.as_numpy("OUTPUT0").tolist() == [
        [b"4.000000:1:dog", b"2.500000:3:long label, with comma", b"0.250000:0:cat"]
    ]


@pytest.mark.parametrize("back", [None, "gzip", "deflate"])
@pytest.mark.parametrize("there", [None, "gzip", "deflate"])
def test_bodies_are_compressed_both_ways(client: Any, there: str | None, back: str | None) -> None:
    answer = client.infer(
        "two",
        two_inputs(binary=False),
        outputs=[output("OUTPUT0", binary=False), output("OUTPUT1", binary=True)],
        request_compression_algorithm=there,
        response_compression_algorithm=back,
    )
    assert answer.as_numpy("OUTPUT0").tolist() == [[1, 3, 5, 7]]
    assert answer.as_numpy("OUTPUT1").tolist() == [[-1, -1, -1, -1]]


def test_a_version_is_chosen(client: Any) -> None:
    one = [tensor("INPUT0", "INT32", np.array([1], dtype=np.int32))]
    assert client.infer("versions", one, model_version="2").as_numpy("OUTPUT0").tolist() == [3]
    newest = client.infer("versions", one)
    assert newest.as_numpy("OUTPUT0").tolist() == [4]
    assert newest.get_response()["model_version"] == "3"


def seen(answer: Any) -> Any:
    """The request as the model `echo` saw it."""
    return json.loads(answer.as_numpy("SEEN")[0])


TEXT = np.array([b"hello"], dtype=np.object_)


@pytest.mark.parametrize("identifier", [17, "talk-17"])
def test_a_sequence_reaches_the_model(client: Any, identifier: int | str) -> None:
    text = [tensor("TEXT", "BYTES", TEXT)]
    first = seen(client.infer("echo", text, sequence_id=identifier, sequence_start=True))
    last = seen(client.infer("echo", text, sequence_id=identifier, sequence_end=True))
    assert (first["correlation_id"], first["flags"]) == (identifier, 1)
    assert (last["correlation_id"], last["flags"]) == (identifier, 2)


def test_id_priority_timeout_and_parameters_reach_the_model(client: Any) -> None:
    answer = client.infer(
        "echo",
        [tensor("TEXT", "BYTES", TEXT)],
        request_id="number 7",
        priority=3,
        timeout=5_000_000,
        parameters={"a": "x", "b": 7, "c": True, "d": 1.5},
    )
    assert answer.get_response()["id"] == "number 7"
    told = seen(answer)
    assert told["parameters"] == {"a": "x", "b": 7, "c": True, "d": 1.5}
    assert (told["id"], told["timeout"]) == ("number 7", 5_000_000)
    assert told["requested_outputs"] == ["SEEN"]


def test_headers_and_query_are_let_through(client: Any) -> None:
    answer = client.infer("two", two_inputs(), headers={"X-Anything": "1"}, query_params={"q": "1"})
    assert answer.as_numpy("OUTPUT0").tolist() == [[1, 3, 5, 7]]


def test_a_body_made_by_the_client_is_sent_by_another(client: Any, server: Target) -> None:
    maker = type(getattr(client, "client", client))
    body, header_length = maker.generate_request_body(two_inputs(), outputs=[output("OUTPUT1")])
    answer = httpx.post(
        f"http://{server.http.host}:{server.http.port}/v2/models/two/infer",
        content=body,
        headers={"Inference-Header-Content-Length": str(header_length)},
    )
    parsed = maker.parse_response_body(
        answer.content, header_length=int(answer.headers["Inference-Header-Content-Length"])
    )
    assert parsed.as_numpy("OUTPUT1").tolist() == [[-1, -1, -1, -1]]
    assert parsed.as_numpy("OUTPUT0") is None


# --- many at once --------------------------------------------------------------------------------------------------


def test_the_blocking_client_has_many_requests_under_way(server: Target) -> None:
    client = connect("blocking", server)
    pending = [client.async_infer("two", two_inputs(), request_id=str(number)) for number in range(40)]
    answers = [each.get_result() for each in pending]
    assert [answer.get_response()["id"] for answer in answers] == [str(number) for number in range(40)]
    assert all(answer.as_numpy("OUTPUT0").tolist() == [[1, 3, 5, 7]] for answer in answers)
    client.close()


def test_the_asyncio_client_has_many_requests_under_way(server: Target) -> None:
    async def run() -> list[Any]:
        async with tritonclient.http.aio.InferenceServerClient(
            f"{server.http.host}:{server.http.port}"
        ) as client:
            return await asyncio.gather(
                *(client.infer("two", two_inputs(), request_id=str(number)) for number in range(40))
            )

    answers = asyncio.run(run())
    assert [answer.get_response()["id"] for answer in answers] == [str(number) for number in range(40)]


# --- refusals ------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "an unknown model": (
        lambda client: client.infer("nope", two_inputs()),
        "404",
        "Request for unknown model: 'nope' is not found",
    ),
    "an unknown version": (
        lambda client: client.infer("two", two_inputs(), model_version="9"),
        "404",
        "Request for unknown model: 'two' version 9 is not found",
    ),
    "a version that is not loaded": (
        lambda client: client.get_model_metadata("versions", "1"),
        "404",
        "Request for unknown model: 'versions' version 1 is not found",
    ),
    "a missing input": (
        lambda client: client.infer("two", two_inputs()[:1]),
        "400",
        (
            "[request id: <id_unknown>] expected 2 inputs but got 1 inputs for model 'two'. Got input(s) "
            "['INPUT0'], but missing required input(s) ['INPUT1']. Please provide all required input(s)."
        ),
    ),
    "a wrong datatype": (
        lambda client: client.infer("id_int32", [tensor("INPUT0", "FP32", NUMBERS["FP32"])], request_id="7"),
        "400",
        "[request id: 7] inference input 'INPUT0' data-type is 'FP32', but model 'id_int32' expects 'INT32'",
    ),
    "an unknown output": (
        lambda client: client.infer("two", two_inputs(), outputs=[output("NOPE")]),
        "400",
        "unexpected inference output 'NOPE' for model 'two'",
    ),
    "a decoupled model": (
        lambda client: client.infer("dec", [tensor("PLAN", "BYTES", TEXT)]),
        "501",
        "HTTP end point doesn't support models with decoupled transaction policy",
    ),
    "an error of the model": (
        lambda client: client.infer(
            "err", [tensor("HOW", "BYTES", np.array([b"UNAVAILABLE:later"], dtype=np.object_))]
        ),
        "503",
        "later",
    ),
    "statistics of an unknown model": (
        lambda client: client.get_inference_statistics("nope"),
        "400",
        "requested model 'nope' is not available",
    ),
    "a log format that is none": (
        lambda client: client.update_log_settings({"log_format": "verse"}),
        "503",
        "invalid argument for --log_format, got: verse",
    ),
    "a trace level that is at odds with itself": (
        lambda client: client.update_trace_settings(settings={"trace_level": ["OFF", "TENSORS"]}),
        "400",
        "Expect only one trace level 'OFF' is specified",
    ),
    "an unknown shared memory region": (
        lambda client: client.get_system_shared_memory_status("nope"),
        "404",
        "Unable to find system shared memory region: 'nope'",
    ),
    "a CUDA region where there is no GPU": (
        lambda client: client.register_cuda_shared_memory("r", b"AAAA", 0, 64),
        "400",
        "'raw_handle' must be a valid base64 encoded cudaIpcMemHandle_t",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_refusals_carry_status_and_words(client: Any, what: str) -> None:
    call, status, message = WRONG[what]
    with pytest.raises(InferenceServerException) as refusal:
        call(client)
    assert (refusal.value.status(), refusal.value.message()) == (status, message)


def test_no_cuda_region_is_ever_registered(client: Any) -> None:
    assert client.get_cuda_shared_memory_status() == []
    client.unregister_cuda_shared_memory("nope")
    client.unregister_cuda_shared_memory()


def test_callbacks_of_the_blocking_client_get_errors_too(server: Target) -> None:
    client = connect("blocking", server)
    results: queue.Queue[str] = queue.Queue()
    request = client.async_infer("nope", two_inputs())
    try:
        request.get_result()
    except InferenceServerException as refusal:
        results.put(refusal.message())
    assert results.get_nowait() == "Request for unknown model: 'nope' is not found"
    client.close()
