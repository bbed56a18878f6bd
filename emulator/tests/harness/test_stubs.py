"""Stubs: answers of a test in place of a model's, over every protocol, with real clients."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from triton_emulator import Emulator, Session, SettingsError, fault
from triton_emulator.builtin import REPOSITORY

pytestmark = pytest.mark.triton(model_control_mode="explicit", load_models=("simple", "vllm", "custom_llm"))

IMAGE = np.array([[1, 2, 3]], dtype=np.float32)
SCORES = np.array([[0.25, 0.75]], dtype=np.float32)
BODY = {"inputs": [{"name": "IMAGE", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
ANSWER = (
    b'{"model_name":"classifier","model_version":"1","outputs":[{"name":"SCORES","datatype":"FP32",'
    b'"shape":[1,2],"data":[0.25,0.75]}]}'
)
INTEGERS = list(range(16))


@pytest.fixture
def classifier(triton: Session) -> Session:
    """The session, with a stub for a model that no repository has."""
    triton.when("infer", model="classifier", inputs={"IMAGE": IMAGE}).respond({"SCORES": SCORES})
    return triton


def infer(triton: Session, model: str = "classifier", body: Any = BODY) -> httpx.Response:
    return httpx.post(
        f"{triton.http_url}/v2/models/{model}/infer", json=body, headers={"Accept-Encoding": "identity"}
    )


def sums(triton: Session) -> Any:
    """The first output of `simple`, whose own answer is 0, 2, 4, ..."""
    inputs = [
        {"name": name, "datatype": "INT32", "shape": [1, 16], "data": INTEGERS}
        for name in ("INPUT0", "INPUT1")
    ]
    return infer(triton, "simple", {"inputs": inputs}).json()["outputs"][0]["data"]


# --- forms and protocols ---


def test_json(classifier: Session) -> None:
    answer = infer(classifier)
    assert (answer.status_code, answer.content) == (200, ANSWER)


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_over_http(classifier: Session, binary: bool) -> None:
    tensor = tritonclient.http.InferInput("IMAGE", [1, 3], "FP32")
    tensor.set_data_from_numpy(IMAGE, binary_data=binary)
    wanted = [tritonclient.http.InferRequestedOutput("SCORES", binary_data=binary)]
    with tritonclient.http.InferenceServerClient(classifier.http_url.removeprefix("http://")) as client:
        result = client.infer("classifier", [tensor], outputs=wanted, request_id="a")
    assert result.get_response()["id"] == "a"
    np.testing.assert_array_equal(result.as_numpy("SCORES"), SCORES)


def test_a_body_that_is_the_only_input(classifier: Session) -> None:
    answer = httpx.post(
        f"{classifier.http_url}/v2/models/classifier/infer",
        content=IMAGE.tobytes(),
        headers={"Inference-Header-Content-Length": "0"},
    )
    length = int(answer.headers["Inference-Header-Content-Length"])
    assert answer.content[length:] == SCORES.tobytes()


def test_classes_are_made_of_the_outputs(classifier: Session) -> None:
    body = BODY | {"outputs": [{"name": "SCORES", "parameters": {"classification": 1}}]}
    assert infer(classifier, body=body).json()["outputs"] == [
        {"name": "SCORES", "datatype": "BYTES", "shape": [1], "data": ["0.750000:1"]}
    ]


def test_outputs_that_are_not_asked_for_are_left_out(triton: Session) -> None:
    triton.when(model="classifier").respond({"SCORES": SCORES, "OTHER": np.array([1], np.int8)})
    body = BODY | {"outputs": [{"name": "OTHER"}]}
    assert [output["name"] for output in infer(triton, body=body).json()["outputs"]] == ["OTHER"]
    body = BODY | {"outputs": [{"name": "NONE"}]}
    assert infer(triton, body=body).json() == {
        "error": "unexpected inference output 'NONE' for model 'classifier'"
    }


@pytest.fixture
def grpc(triton: Session) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
        yield client


def image() -> tritonclient.grpc.InferInput:
    tensor = tritonclient.grpc.InferInput("IMAGE", [1, 3], "FP32")
    tensor.set_data_from_numpy(IMAGE)
    return tensor


def test_grpc(classifier: Session, grpc: tritonclient.grpc.InferenceServerClient) -> None:
    result = grpc.infer("classifier", [image()], request_id="a")
    assert result.get_response().id == "a"
    np.testing.assert_array_equal(result.as_numpy("SCORES"), SCORES)


def streamed(
    client: tritonclient.grpc.InferenceServerClient, model: str, inputs: Any, output: str
) -> list[Any]:
    """The output of each response of a stream, and "final" for one that is the last."""
    answers: SimpleQueue[Any] = SimpleQueue()
    client.start_stream(lambda result, error: answers.put(error or result))
    client.async_stream_infer(model, inputs, enable_empty_final_response=True)
    seen: list[Any] = []
    while "final" not in seen:
        result = answers.get(timeout=60)
        if isinstance(result, InferenceServerException):
            seen += [result.message(), "final"]
            continue
        seen.append(result.as_numpy(output).ravel().tolist())
        if result.get_response().parameters["triton_final_response"].bool_param:
            seen.append("final")
    client.stop_stream()
    return seen


def test_a_grpc_stream(triton: Session, grpc: tritonclient.grpc.InferenceServerClient) -> None:
    triton.when("stream_infer", model="classifier").respond({"SCORES": SCORES})
    assert streamed(grpc, "classifier", [image()], "SCORES") == [[0.25, 0.75], "final"]


def prompt(text: str = "hi") -> list[tritonclient.grpc.InferInput]:
    tensor = tritonclient.grpc.InferInput("text_input", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode()], dtype=object))
    flag = tritonclient.grpc.InferInput("stream", [1], "BOOL")
    flag.set_data_from_numpy(np.array([True]))
    return [tensor, flag]


def test_several_responses_of_a_decoupled_model(
    triton: Session, grpc: tritonclient.grpc.InferenceServerClient
) -> None:
    triton.when(model="vllm").respond([{"text_output": ["a"]}, {"text_output": ["b"]}])
    assert streamed(grpc, "vllm", prompt(), "text_output") == [[b"a"], [b"b"], "final"]


# --- language models ---


def generate(triton: Session, model: str, **request: Any) -> Any:
    return httpx.post(f"{triton.http_url}/v2/models/{model}/generate", json={"text_input": "hi", **request})


def events(triton: Session, model: str, **request: Any) -> list[str]:
    """The texts of the events of a stream."""
    url = f"{triton.http_url}/v2/models/{model}/generate_stream"
    lines = httpx.post(url, json={"text_input": "hi", **request}).text.split("\n\n")
    return [httpx.Response(200, text=line[6:]).json()["text_output"] for line in lines if line]


def test_a_text_is_whole_or_a_stream_of_its_words(triton: Session) -> None:
    triton.when(model="vllm").respond(text="The capital\n of  France: Paris.")
    assert generate(triton, "vllm").json()["text_output"] == "The capital\n of  France: Paris."
    assert events(triton, "vllm", stream=True) == ["The", " capital", "\n of", "  France:", " Paris."]
    assert events(triton, "vllm", stream=False) == ["The capital\n of  France: Paris."]
    assert events(triton, "vllm") == ["The capital\n of  France: Paris."]  # its default is not to stream


def test_tokens_are_joined_where_nothing_streams(triton: Session) -> None:
    triton.when(model="custom_llm").respond(tokens=["Par", "is", "", " é"])
    assert generate(triton, "custom_llm").json()["text_output"] == "Paris é"
    assert events(triton, "custom_llm") == ["Par", "is", "", " é"]


def test_a_text_over_grpc(triton: Session, grpc: tritonclient.grpc.InferenceServerClient) -> None:
    triton.when(model="vllm").respond(tokens=["a", "b"])
    assert streamed(grpc, "vllm", prompt(), "text_output") == [[b"a"], [b"b"], "final"]


def test_a_language_model_that_is_in_no_repository(
    triton: Session, grpc: tritonclient.grpc.InferenceServerClient
) -> None:
    triton.when(model="llama").respond(text="I am a stub.")
    assert generate(triton, "llama", max_tokens=5).json() == {
        "model_name": "llama",
        "model_version": "1",
        "text_output": "I am a stub.",
    }
    assert events(triton, "llama") == ["I", " am", " a", " stub."]
    assert streamed(grpc, "llama", prompt(), "text_output")[0] == [b"I"]
    body = {"inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": ["hi"]}]}
    assert infer(triton, "llama", body).json()["outputs"][0]["data"] == ["I am a stub."]


@pytest.mark.triton(model_control_mode="explicit", load_models=("trtllm",))
def test_a_text_is_in_each_row_of_a_batch(
    triton: Session, grpc: tritonclient.grpc.InferenceServerClient
) -> None:
    triton.when(model="trtllm").respond(text="no")
    texts = tritonclient.grpc.InferInput("text_input", [2, 1], "BYTES")
    texts.set_data_from_numpy(np.array([[b"a"], [b"b"]], dtype=object))
    limit = tritonclient.grpc.InferInput("max_tokens", [2, 1], "INT32")
    limit.set_data_from_numpy(np.array([[5], [5]], dtype=np.int32))
    assert streamed(grpc, "trtllm", [texts, limit], "text_output") == [[b"no", b"no"], "final"]


# --- what a request asks for beside a text ---


def asking(*outputs: str) -> dict[str, bool]:
    return {f"return_{output}": True for output in outputs}


def test_a_stream_says_why_it_ends_and_counts_its_tokens_where_it_is_asked(triton: Session) -> None:
    triton.when(model="vllm").respond(tokens=["Par", "is"])
    flags = asking("finish_reason", "num_input_tokens", "num_output_tokens")
    body = {"text_input": "the capital of France", "stream": True, **flags}
    lines = httpx.post(f"{triton.http_url}/v2/models/vllm/generate_stream", json=body).text.split("\n\n")
    model = {"model_name": "vllm", "model_version": "1"}
    counts = {"num_input_tokens": 4, "num_output_tokens": 1}
    assert [json.loads(line[6:]) for line in lines if line] == [
        {**model, **counts, "text_output": "Par", "finish_reason": "None"},
        {**model, **counts, "text_output": "is", "finish_reason": "stop"},
    ]


def test_a_whole_answer_says_why_it_ends(triton: Session) -> None:
    triton.when(model="vllm").respond(tokens=["Par", "is"])
    answer = generate(triton, "vllm", **asking("finish_reason", "num_output_tokens")).json()
    assert (answer["finish_reason"], answer["num_output_tokens"]) == ("stop", 2)


def test_what_a_request_does_not_ask_for_is_left_out(triton: Session) -> None:
    triton.when(model="vllm").respond(text="Paris")
    assert generate(triton, "vllm", return_finish_reason=False).json() == {
        "model_name": "vllm",
        "model_version": "1",
        "text_output": "Paris",
    }


@pytest.mark.triton(model_control_mode="explicit", load_models=("trtllm",))
def test_each_row_of_a_batch_has_what_it_asks_for(
    triton: Session, grpc: tritonclient.grpc.InferenceServerClient
) -> None:
    triton.when(model="trtllm").respond(tokens=["a", "b"])
    inputs = []
    for name, datatype, values in (
        ("text_input", "BYTES", np.array([[b"hi"], [b"there"]], dtype=object)),
        ("max_tokens", "INT32", np.array([[5], [5]], dtype=np.int32)),
        ("return_num_output_tokens", "BOOL", np.array([[True], [True]])),
    ):
        inputs.append(tritonclient.grpc.InferInput(name, [2, 1], datatype))
        inputs[-1].set_data_from_numpy(values)
    assert streamed(grpc, "trtllm", inputs, "text_output") == [[b"ab", b"ab"], "final"]
    assert streamed(grpc, "trtllm", inputs, "num_output_tokens") == [[2, 2], "final"]


# --- what is compared ---


def test_requests_are_told_apart_by_their_inputs(triton: Session) -> None:
    for prompt_, answer in (("hi", "hello"), ("bye", "see you")):
        triton.when(model="custom_llm", inputs={"text_input": prompt_}).respond(text=answer)
    for prompt_, answer in (("bye", "see you"), ("hi", "hello")):
        assert generate(triton, "custom_llm", text_input=prompt_).json()["text_output"] == answer
    assert generate(triton, "custom_llm", text_input="else").json()["text_output"] not in ("hello", "see you")


def test_the_other_criteria(triton: Session) -> None:
    triton.when("infer", model="simple", protocol="grpc").respond({"OUTPUT0": [INTEGERS]})
    triton.when("infer", model="simple", version=1, headers={"x-tenant": "blue"}).respond(
        {"OUTPUT0": [INTEGERS]}
    )
    triton.when("infer", model="simple", parameters={"beam": 5}).respond({"OUTPUT0": [INTEGERS]})
    triton.when("infer", model="simple", where=lambda entry: entry.id == "x").respond({"OUTPUT0": [INTEGERS]})
    triton.allow("unused")
    assert sums(triton)[1] == 2
    url = f"{triton.http_url}/v2/models/simple/versions/1/infer"
    inputs = [
        {"name": name, "datatype": "INT32", "shape": [1, 16], "data": INTEGERS}
        for name in ("INPUT0", "INPUT1")
    ]
    answers = [
        httpx.post(url, json={"inputs": inputs}, headers={"x-tenant": "blue"}),
        httpx.post(url, json={"inputs": inputs, "parameters": {"beam": 5}}),
        httpx.post(url, json={"inputs": inputs, "id": "x"}),
    ]
    assert [answer.json()["outputs"][0]["data"][1] for answer in answers] == [1, 1, 1]
    assert [stub.used for stub in triton.stubs] == [1, 1, 1, 0]


def test_the_newest_stub_that_fits_answers(triton: Session) -> None:
    triton.allow("unused")
    triton.when(model="custom_llm").respond(text="old")
    newest = triton.when(model="custom_llm").respond(text="new")
    assert generate(triton, "custom_llm").json()["text_output"] == "new"
    newest.remove()
    assert generate(triton, "custom_llm").json()["text_output"] == "old"


def test_a_scenario_is_answered_in_order_and_its_last_answer_repeats(triton: Session) -> None:
    stub = triton.when(model="custom_llm").respond(text="one").then(text="two").then(text="three")
    texts = [generate(triton, "custom_llm").json()["text_output"] for _ in range(4)]
    assert (texts, stub.used) == (["one", "two", "three", "three"], 4)


def test_a_request_that_triton_refuses_uses_no_answer(triton: Session) -> None:
    stub = triton.when(model="simple").respond({"OUTPUT0": [INTEGERS]})
    assert infer(triton, "simple", {"inputs": []}).status_code == 400
    assert stub.used == 0
    assert sums(triton) == INTEGERS


def test_a_where_that_raises_is_told(triton: Session) -> None:
    triton.when(model="simple", where=lambda entry: 1 / 0 > entry.number).respond({"OUTPUT0": [INTEGERS]})
    assert sums(triton)[1] == 2
    (problem,) = triton.problems()
    assert problem.endswith("its `where` raised ZeroDivisionError: division by zero")
    triton.allow("unused")


def test_a_fault_acts_on_the_answer_of_a_stub(triton: Session) -> None:
    stub = triton.when(model="custom_llm").respond(tokens=["a", "b", "c"])
    triton.inject(fault.error(503), model="custom_llm")
    triton.inject(fault.error_event("lost", after_events=1), model="custom_llm")
    assert generate(triton, "custom_llm").status_code == 503
    url = f"{triton.http_url}/v2/models/custom_llm/generate_stream"
    assert httpx.post(url, json={"text_input": "hi"}).text.split("\n\n")[1] == 'data: {"error":"lost"}'
    assert stub.used == 1


# --- what is counted ---


def test_requests_count_in_the_statistics_the_metrics_and_the_journal(classifier: Session) -> None:
    infer(classifier)
    stub = classifier.when(model="simple").respond({"OUTPUT0": [INTEGERS]})
    sums(classifier)
    for model in ("classifier", "simple"):
        url = f"{classifier.http_url}/v2/models/{model}/stats"
        (stats,) = httpx.get(url).json()["model_stats"]
        assert (stats["inference_count"], stats["execution_count"]) == (1, 1)
        assert stats["inference_stats"]["success"]["count"] == 1
        metrics = httpx.get(classifier.metrics_url).text
        assert f'nv_inference_request_success{{model="{model}",version="1"}} 1\n' in metrics
    entry = classifier.requests.where("infer", model="simple").last
    assert entry.stub is stub
    assert str(entry.stub) == "model='simple'"
    assert entry.outputs["OUTPUT0"].tolist() == [INTEGERS]
    assert entry.compute_seconds is not None
    assert repr(entry).endswith(": 200, answered by a stub>")


def test_statistics_go_on_when_a_model_gets_another_stub(classifier: Session) -> None:
    infer(classifier)
    classifier.when("infer", model="classifier").respond({"SCORES": [[0.5, 0.5]]})
    infer(classifier)
    (stats,) = httpx.get(f"{classifier.http_url}/v2/models/classifier/stats").json()["model_stats"]
    assert stats["inference_count"] == 2


@pytest.mark.parametrize("end", ["reset", "removal"])
def test_the_metrics_forget_a_model_that_no_stub_names_any_more(triton: Session, end: str) -> None:
    before = httpx.get(triton.metrics_url).text
    stubs = [triton.when(model=f"m{number}").respond({"Y": np.ones(1, np.float32)}) for number in range(5)]
    for number in range(5):
        httpx.post(f"{triton.http_url}/v2/models/m{number}/infer", json={"inputs": []})
    assert 'nv_inference_request_failure{model="m4",reason="OTHER",version="1"} 0\n' in (
        httpx.get(triton.metrics_url).text
    )
    if end == "reset":
        triton.reset()
    else:
        for stub in stubs:
            stub.remove()
    after = httpx.get(triton.metrics_url).text
    assert [line for line in after.splitlines() if 'model="m' in line] == []
    assert len(after.splitlines()) == len(before.splitlines())


def test_a_request_that_fails_after_its_stub_has_gone_is_not_counted_any_more(triton: Session) -> None:
    triton.when(model="m").respond(tokens=["a", "b", "c"])
    triton.inject(fault.stall(after_events=1), model="m")
    requests = triton.requests
    url = f"{triton.http_url}/v2/models/m/generate_stream"
    with httpx.stream("POST", url, json={"text_input": "hi"}) as answer:
        assert next(answer.iter_lines()).startswith("data: ")
        triton.reset()
    assert requests.wait_for(1).last.code == 200
    assert 'model="m"' not in httpx.get(triton.metrics_url).text
    assert triton.problems() == []


def test_the_metrics_keep_the_failures_of_a_model_of_a_repository_whose_stubs_have_gone(
    triton: Session,
) -> None:
    triton.when(model="custom_llm").respond(text="hi")
    assert generate(triton, "custom_llm").status_code == 200
    triton.reset()
    kept = [
        line
        for line in httpx.get(triton.metrics_url).text.splitlines()
        if line.startswith('nv_inference_request_failure{model="custom_llm"')
    ]
    assert len(kept) == 4


# --- a model that is in no repository ---


def test_it_is_ready_and_listed_and_has_metadata_and_a_config(classifier: Session) -> None:
    model = f"{classifier.http_url}/v2/models/classifier"
    assert httpx.get(f"{model}/ready").status_code == 200
    assert httpx.get(model).json() == {
        "name": "classifier",
        "versions": ["1"],
        "platform": "stub",
        "inputs": [{"name": "IMAGE", "datatype": "FP32", "shape": [1, 3]}],
        "outputs": [{"name": "SCORES", "datatype": "FP32", "shape": [1, 2]}],
    }
    config = httpx.get(f"{model}/config").json()
    assert (config["backend"], config["max_batch_size"]) == ("stub", 0)
    index = httpx.post(f"{classifier.http_url}/v2/repository/index").json()
    assert {"name": "classifier", "version": "1", "state": "READY"} in index
    classifier.allow("unused")


def test_a_stub_of_the_same_operation_comes_before_one_with_fewer_differences(triton: Session) -> None:
    triton.allow("unused", "unknown")
    triton.when("infer", model="m", inputs={"X": [1], "Y": [1]}).respond({"Z": np.ones(1, np.float32)})
    triton.when("stream_infer", model="m").respond({"Z": np.ones(1, np.float32)})
    tensors = [{"name": name, "datatype": "INT64", "shape": [1], "data": [0]} for name in "XY"]
    answer = httpx.post(f"{triton.http_url}/v2/models/m/infer", json={"inputs": tensors})
    assert [line.partition(": ")[0] for line in answer.json()["error"].splitlines()] == [
        "no stub of model 'm' fits this request",
        "the stub for operation='infer', model='m', inputs={X",
        "the stub for operation='stream_infer', model='m'",
    ]


def test_a_request_that_no_stub_fits_is_refused_with_what_is_different(classifier: Session) -> None:
    body = {"inputs": [{"name": "IMAGE", "datatype": "FP64", "shape": [1, 3], "data": [1, 2, 3]}]}
    answer = infer(classifier, body=body)
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": "no stub of model 'classifier' fits this request\n"
            "the stub for operation='infer', model='classifier', inputs={IMAGE: FP32[1,3]}: "
            "IMAGE: expected FP32[1,3], got FP64[1,3]: FP64 is numpy's default"
        },
    )
    assert [problem.partition("\n")[0] for problem in classifier.problems()] == [
        f"the stub for {classifier.stubs[0]} was not used",
        "a request for what is not there: http infer: no stub of model 'classifier' fits this request",
    ]
    classifier.allow("unused", "unknown")


def test_a_miss_of_a_stub_whose_where_raises_says_so(triton: Session) -> None:
    triton.allow("unused", "unknown")
    triton.when(model="classifier", where=lambda entry: 1 / 0 > entry.number).respond({"SCORES": SCORES})
    answer = infer(triton)
    assert answer.status_code == 400
    assert answer.json()["error"].endswith("where raised ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    "tensor, text",
    [
        ({"name": "IMAGE", "datatype": "FP32", "shape": [1, 3], "data": [1, 2]}, "Shape does not match"),
        ({"name": "IMAGE", "datatype": "FP31", "shape": [1, 3], "data": [1, 2, 3]}, "data-type"),
    ],
)
def test_a_request_that_is_not_sound_is_refused_as_by_triton(
    classifier: Session, tensor: Any, text: str
) -> None:
    answer = infer(classifier, body={"inputs": [tensor]})
    assert answer.status_code in (400, 500)
    assert "no stub" not in answer.text
    classifier.allow("unused")


def test_it_goes_with_its_last_stub(classifier: Session) -> None:
    (stub,) = classifier.stubs
    stub.remove()
    answer = infer(classifier)
    assert (answer.status_code, answer.json()) == (
        404,
        {"error": "Request for unknown model: 'classifier' is not found"},
    )
    assert httpx.get(f"{classifier.http_url}/v2/models/classifier/ready").status_code == 400
    assert "classifier" not in httpx.post(f"{classifier.http_url}/v2/repository/index").text
    classifier.allow("unknown")


def test_a_reset_forgets_stubs(classifier: Session) -> None:
    classifier.reset()
    assert infer(classifier).status_code == 404
    classifier.allow("unknown")


class Meanwhile(dict[str, Any]):
    """The inputs of a stub. While they are looked at, another thread does something to its end."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(X=np.zeros(1, np.float32))
        self._work = work

    def items(self) -> Any:
        thread = threading.Thread(target=self._work)
        thread.start()
        thread.join()
        return super().items()


def test_a_stub_that_is_made_while_another_thread_resets_goes_with_the_others(triton: Session) -> None:
    stub = triton.when(model="late", inputs=Meanwhile(triton.reset))
    stub.respond({"Y": np.zeros(1, np.float32)})
    assert list(triton.stubs) == []
    assert "late" not in httpx.post(f"{triton.http_url}/v2/repository/index").text
    assert triton.problems() == []


def test_stubs_of_threads_that_reset_all_the_time_are_gone_after_the_last_reset(triton: Session) -> None:
    index = f"{triton.http_url}/v2/repository/index"
    before = httpx.post(index).json()
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait()
        for at in range(50):
            triton.when(model=f"m{number}-{at}").respond({"Y": np.zeros(1, np.float32)})
            triton.reset()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert list(triton.stubs) == []
    assert httpx.post(index).json() == before


def test_after_a_reset_that_fails_there_are_no_stubs_and_new_ones_answer(tmp_path: Path) -> None:
    (tmp_path / "emulator.yaml").write_text(
        "stubs:\n  - model: first\n    respond: {text: a}\n  - model: simple\n    respond: {text: a}\n"
    )
    with Emulator(tmp_path, model_control_mode="explicit") as emulator, emulator.session() as triton:
        triton.when(model="third").respond(text="a")
        shutil.copytree(REPOSITORY / "simple", tmp_path / "simple")
        assert httpx.post(f"{triton.http_url}/v2/repository/models/simple/load").status_code == 200
        with pytest.raises(SettingsError, match="'respond' of stub 2"):
            triton.reset()
        names = [model["name"] for model in httpx.post(f"{triton.http_url}/v2/repository/index").json()]
        assert names == ["simple"]
        triton.when(model="fourth").respond(text="of the test")
        assert generate(triton, "fourth").json()["text_output"] == "of the test"


def test_the_version_that_a_stub_names(triton: Session) -> None:
    triton.when(model="classifier", version=7).respond({"SCORES": SCORES})
    assert httpx.get(f"{triton.http_url}/v2/models/classifier").json()["versions"] == ["7"]
    assert infer(triton, "classifier/versions/7").json()["model_version"] == "7"


def test_a_version_goes_with_its_last_stub(triton: Session) -> None:
    triton.allow("unused")
    triton.when(model="classifier").respond({"SCORES": SCORES})
    stub = triton.when(model="classifier", version="7").respond({"SCORES": SCORES})
    metadata = f"{triton.http_url}/v2/models/classifier"
    assert httpx.get(metadata).json()["versions"] == ["1", "7"]
    stub.remove()
    assert httpx.get(metadata).json()["versions"] == ["1"]


def test_dimensions_in_which_stubs_differ_are_variable(triton: Session) -> None:
    triton.allow("unused")
    triton.when(model="classifier", inputs={"IMAGE": np.zeros((1, 3))}).respond({"SCORES": [1.5]})
    triton.when(model="classifier", inputs={"IMAGE": np.zeros((2, 3))}).respond({"SCORES": [[1.5]]})
    metadata = httpx.get(f"{triton.http_url}/v2/models/classifier").json()
    assert metadata["inputs"] == [{"name": "IMAGE", "datatype": "FP64", "shape": [-1, 3]}]
    assert metadata["outputs"] == [{"name": "SCORES", "datatype": "FP32", "shape": [-1]}]
    with pytest.raises(ValueError, match="SCORES is FP32 in another stub of the model, not INT64"):
        triton.when(model="classifier").respond({"SCORES": [1]})


def test_a_model_of_the_repository_that_is_not_loaded_stays_so(triton: Session) -> None:
    triton.when(model="identity_fp32").respond({"OUTPUT0": SCORES[0]})
    ready = f"{triton.http_url}/v2/models/identity_fp32/ready"
    assert httpx.get(ready).status_code == 400
    httpx.post(f"{triton.http_url}/v2/repository/models/identity_fp32/load").raise_for_status()
    body = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1], "data": [1]}]}
    assert infer(triton, "identity_fp32", body).json()["outputs"][0]["data"] == [0.25, 0.75]


def test_a_model_that_comes_into_the_repository_takes_the_place_of_the_stubs_model(
    tmp_path: Path, triton_emulator: Emulator
) -> None:
    with triton_emulator.session(tmp_path, model_control_mode="explicit") as triton:
        triton.when(model="simple").respond({"OUTPUT0": [5]})
        assert httpx.get(f"{triton.http_url}/v2/models/simple").json()["platform"] == "stub"
        shutil.copytree(REPOSITORY / "simple", tmp_path / "simple")
        httpx.post(f"{triton.http_url}/v2/repository/models/simple/load").raise_for_status()
        triton.when(model="simple", protocol="grpc").respond({"OUTPUT0": [INTEGERS]})
        metadata = httpx.get(f"{triton.http_url}/v2/models/simple").json()
        assert [tensor["shape"] for tensor in metadata["outputs"]] == [[-1, 16], [-1, 16]]
        for stub in triton.stubs:
            stub.remove()
        assert sums(triton)[1] == 2


def test_a_model_that_a_client_loads_with_its_files_takes_the_place_of_the_stubs_model(
    triton: Session,
) -> None:
    triton.when(model="sent").respond({"OUTPUT0": [5]})
    tensor = {"data_type": "TYPE_INT32", "dims": [1]}
    config = {
        "backend": "identity",
        "input": [{"name": "INPUT0", **tensor}],
        "output": [{"name": "OUTPUT0", **tensor}],
    }
    files = {"config": json.dumps(config), "file:1/model.savedmodel": ""}
    sent = httpx.post(f"{triton.http_url}/v2/repository/models/sent/load", json={"parameters": files})
    assert (sent.status_code, sent.text) == (200, "")
    assert httpx.get(f"{triton.http_url}/v2/models/sent").json()["platform"] == "identity"
    triton.allow("unused")


def test_a_stub_is_checked_when_its_model_is_loaded_after_it(triton: Session) -> None:
    triton.when(model="identity_fp32").respond({"OUTPUT0": [1, 2]}).then({"OUTPUT": [1]})
    httpx.post(f"{triton.http_url}/v2/repository/models/identity_fp32/load").raise_for_status()
    body = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1], "data": [1]}]}
    assert infer(triton, "identity_fp32", body).json()["outputs"] == [
        {"name": "OUTPUT0", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]}
    ]
    answer = infer(triton, "identity_fp32", body)
    text = "model 'identity_fp32' has no output 'OUTPUT'; did you mean 'OUTPUT0'?"
    assert (answer.status_code, answer.json()) == (400, {"error": text})
    assert triton.problems() == [f"a request for what is not there: http infer: {text}"]
    triton.allow("unknown")


def test_a_session_has_its_own_stubs(classifier: Session, triton_emulator: Emulator) -> None:
    classifier.allow("unused")
    with triton_emulator.session(model_control_mode="explicit") as other:
        assert infer(other).status_code == 404


def test_models_whose_shapes_differ_inside_have_the_shapes_that_clients_see(
    triton_emulator: Emulator,
) -> None:
    models = Path(__file__).parents[3] / "contract_tests/triton_contract/models/reshaped"
    with triton_emulator.session(models, model_control_mode="explicit", load_models=("square",)) as triton:
        metadata = httpx.get(f"{triton.http_url}/v2/models/square").json()
        shapes = {tensor["name"]: tensor["shape"] for tensor in (*metadata["inputs"], *metadata["outputs"])}
        given = np.arange(4, dtype=np.int32).reshape(shapes["X"])
        stub = triton.when(model="square", inputs={"X": given}).respond({"Y": given * 2})
        body = {"inputs": [{"name": "X", "datatype": "INT32", "shape": shapes["X"], "data": [0, 1, 2, 3]}]}
        (output,) = infer(triton, "square", body).json()["outputs"]
        assert (output["shape"], output["data"]) == (shapes["Y"], [0, 2, 4, 6])
        assert stub.used == 1


# --- what fails a test, and what is refused ---


def test_an_unused_stub_and_an_unused_answer_are_problems(triton: Session) -> None:
    triton.when(model="custom_llm").respond(text="a").then(text="b")
    generate(triton, "custom_llm")
    triton.when(model="vllm")
    assert triton.problems() == [
        "the stub for model='vllm' has no answer: give it one by `respond`",
        "the stub for model='custom_llm' gave 1 of its 2 answers",
    ]
    triton.allow("unused")
    assert triton.problems() == []


@pytest.mark.parametrize(
    "options, message",
    [
        ({"model": ""}, "a stub is for one model: name it by model="),
        ({"model": "simple", "operation": "model_ready"}, "a stub answers inference: infer, generate, "),
        ({"model": "simple", "operation": "infers"}, "'infers' is no operation; did you mean 'infer'?"),
        ({"model": "simple", "version": "newest"}, "version is the number of a version, not 'newest'"),
        ({"model": "simple", "version": 0}, "version is the number of a version, not '0'"),
        (
            {"model": "simple", "inputs": {"INPUT": [1]}},
            "model 'simple' has no input 'INPUT'; did you mean 'INPUT",
        ),
        (
            {"model": "simple", "inputs": {"INPUT0": np.zeros((1, 16))}},
            "INPUT0: the model has INT32[-1,16], not FP64[1,16]",
        ),
        (
            {"model": "simple", "inputs": {"INPUT0": np.zeros(16, np.int32)}},
            "INPUT0: the model has INT32[-1,16], not INT32[16]",
        ),
        (
            {"model": "simple", "inputs": {"INPUT0": {"datatype": "INT23", "data": [1]}}},
            "INPUT0: datatype is one of BOOL, UINT8",
        ),
    ],
)
def test_a_stub_that_no_request_fits_is_refused(triton: Session, options: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        triton.when(options.pop("operation", None), **options)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    "model, reply, message",
    [
        ("simple", {}, "a stub answers outputs, or text, or tokens: one of these"),
        ("simple", {"outputs": {}, "text": "a"}, "a stub answers outputs, or text, or tokens: one of these"),
        ("simple", {"outputs": {}}, "outputs are a mapping from names to arrays, at least one, not {}"),
        (
            "simple",
            {"outputs": []},
            "outputs are a mapping from names to arrays, or a list of mappings, not []",
        ),
        (
            "simple",
            {"outputs": "OUTPUT0"},
            "outputs are a mapping from names to arrays, or a list of mappings, not 'OUTPUT0'; a text is respond(",
        ),
        (
            "simple",
            {"outputs": {"OUTPUT2": [1]}},
            "model 'simple' has no output 'OUTPUT2'; did you mean 'OUTPUT",
        ),
        ("simple", {"outputs": {5: [1]}}, "the name of an output is a str, not 5"),
        (
            "simple",
            {"outputs": {"OUTPUT0": np.zeros((1, 16))}},
            "OUTPUT0: the model has INT32[-1,16], not FP64[1,16]",
        ),
        ("simple", {"outputs": {"OUTPUT0": INTEGERS}}, "OUTPUT0: the model has INT32[-1,16], not INT32[16]"),
        (
            "simple",
            {"outputs": {"OUTPUT0": [INTEGERS[1:]]}},
            "OUTPUT0: the model has INT32[-1,16], not INT32[1,15]",
        ),
        ("simple", {"outputs": {"OUTPUT0": [[0.5] * 16]}}, "OUTPUT0: 0.5 is no INT32"),
        ("simple", {"outputs": {"OUTPUT0": [[True] * 16]}}, "OUTPUT0: True is no INT32"),
        ("simple", {"outputs": {"OUTPUT0": [["a"] * 16]}}, "OUTPUT0: 'a' is no INT32"),
        ("simple", {"outputs": {"OUTPUT0": [[1 << 31] * 16]}}, "OUTPUT0: a number is too large for INT32"),
        (
            "simple",
            {"outputs": {"OUTPUT0": [[1], [2, 3]]}},
            "OUTPUT0: lists of different lengths are no tensor",
        ),
        (
            "simple",
            {"outputs": {"OUTPUT0": [None]}},
            "OUTPUT0: an element is a number, a text or bytes, not None",
        ),
        (
            "simple",
            {"outputs": [{"OUTPUT0": [INTEGERS]}] * 2},
            "model 'simple' gives one response, as it is not decoupled; not 2",
        ),
        (
            "simple",
            {"text": "a"},
            "model 'simple' has not one output with a text; name it by output=. It has OUTPUT0 INT32[-1,16], OUTPUT1",
        ),
        ("simple", {"text": "a", "output": "OUTPUT0"}, "OUTPUT0 of model 'simple' is INT32[-1,16], no text"),
        ("vllm", {"text": "a", "output": "text"}, "model 'vllm' has no output 'text'"),
        ("vllm", {"text": 5}, "text is a str, not 5"),
        ("vllm", {"tokens": "ab"}, "tokens are a list of texts, at least one, not 'ab'"),
        ("vllm", {"tokens": []}, "tokens are a list of texts, at least one, not []"),
        ("vllm", {"tokens": ["a", 5]}, "a token is a str, not 5"),
        (
            "vllm",
            {"text": "a", "parameters": {"a": []}},
            "parameters are a mapping from names to texts, numbers",
        ),
        (
            "vllm",
            {"outputs": {"text_output": ["a"]}, "output": "a"},
            "output names the output of text or tokens",
        ),
        ("none", {"outputs": {"A": [1, "a"]}}, "A: no datatype fits these elements; give an array"),
        ("none", {"outputs": {"A": {"datatype": "FP32"}}}, "A: a tensor is {datatype: FP32, shape: [1, 3]"),
        ("none", {"outputs": {"A": {"datatype": "FP3", "data": [1]}}}, "A: datatype is one of BOOL"),
        (
            "none",
            {"outputs": {"A": {"datatype": "FP32", "shape": [2], "data": [1]}}},
            "A: FP32[2] has 2 elements, not 1",
        ),
        ("none", {"outputs": {"A": [np.zeros((1,) * 32).tolist()]}}, "A: a tensor has at most 32 dimensions"),
        (
            "none",
            {"outputs": {"A": {"datatype": "FP32", "shape": [1] * 33, "data": [1]}}},
            "A: a tensor has at most 32 dimensions",
        ),
        ("none", {"outputs": {"A": np.array([1j])}}, "A: Triton has no datatype for complex128"),
        ("a/../b", {"outputs": {"A": [1]}}, "invalid model name 'a/../b'"),
    ],
)
def test_an_answer_that_the_model_cannot_give_is_refused(
    triton: Session, model: str, reply: Any, message: str
) -> None:
    triton.allow("unused")
    with pytest.raises((TypeError, ValueError)) as refused:
        triton.when(model=model).respond(**reply)
    assert str(refused.value).startswith(message)


def test_answers_come_in_order(triton: Session) -> None:
    triton.allow("unused")
    stub = triton.when(model="vllm")
    with pytest.raises(ValueError, match="has no answer yet; give the first one by `respond`"):
        stub.then(text="a")
    stub.respond(text="a")
    with pytest.raises(ValueError, match="what follows it is given by `then`"):
        stub.respond(text="b")


@pytest.mark.parametrize(
    "value, datatype, shape, data",
    [
        ([1, 2], "INT64", [2], [1, 2]),
        (1.5, "FP32", [], [1.5]),
        ([1, 2.5], "FP32", [2], [1, 2.5]),
        ([[True], [False]], "BOOL", [2, 1], [True, False]),
        ("é", "BYTES", [], ["é"]),
        (np.array(["a", "b"]), "BYTES", [2], ["a", "b"]),
        (np.array([1], ">i2"), "INT16", [1], [1]),
        ({"datatype": "UINT8", "shape": [1, 2], "data": [1, 2]}, "UINT8", [1, 2], [1, 2]),
        ({"datatype": "FP64", "data": [[1], [2]]}, "FP64", [2, 1], [1, 2]),
    ],
)
def test_a_value_without_a_config_has_the_datatype_that_it_suggests(
    triton: Session, value: Any, datatype: str, shape: list[int], data: list[Any]
) -> None:
    triton.when(model="any").respond({"A": value})
    (output,) = infer(triton, "any").json()["outputs"]
    assert output == {"name": "A", "datatype": datatype, "shape": shape, "data": data}


def test_an_array_that_changes_later_changes_no_answer(triton: Session) -> None:
    given, answer = IMAGE.copy(), SCORES.copy()
    triton.when("infer", model="classifier", inputs={"IMAGE": given}).respond({"SCORES": answer})
    given += 1
    answer += 1
    assert infer(triton).content == ANSWER


def test_bf16_is_made_of_numbers_and_compared_as_its_bits(triton: Session) -> None:
    tensor = {"datatype": "BF16", "data": [1.0, -2.5]}
    triton.when(model="any", inputs={"X": tensor}).respond({"Y": tensor})
    metadata = httpx.get(f"{triton.http_url}/v2/models/any").json()
    assert metadata["inputs"] == [{"name": "X", "datatype": "BF16", "shape": [2]}]
    header = (
        b'{"inputs":[{"name":"X","datatype":"BF16","shape":[2],"parameters":{"binary_data_size":4}}],'
        b'"outputs":[{"name":"Y","parameters":{"binary_data":true}}]}'
    )
    answer = httpx.post(
        f"{triton.http_url}/v2/models/any/infer",
        content=header + b"\x80\x3f\x20\xc0",
        headers={"Inference-Header-Content-Length": str(len(header))},
    )
    assert answer.content.endswith(b"}\x80\x3f\x20\xc0")


# --- a file ---


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("simple", "custom_llm"):
        shutil.copytree(REPOSITORY / name, tmp_path / "models" / name)
    return tmp_path / "models"


FILE = """
stubs:
  - model: classifier
    operation: infer
    inputs:
      IMAGE: {datatype: FP32, shape: [1, 3], data: [1, 2, 3]}
    respond:
      outputs: {SCORES: [[0.25, 0.75]]}
  - model: simple
    respond:
      outputs: {OUTPUT0: [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]]}
  - model: custom_llm
    respond:
      - text: one
      - tokens: [t, wo]
  - model: custom_llm
    respond: {text: never}
"""


def test_the_stubs_of_a_file_answer_in_each_session_and_after_a_reset(repository: Path) -> None:
    (repository / "emulator.yaml").write_text(FILE)
    with Emulator(repository) as triton, triton.session() as session:
        for _ in range(2):
            assert infer(session).content == ANSWER
            assert sums(session) == INTEGERS
            texts = [generate(session, "custom_llm").json()["text_output"] for _ in range(3)]
            assert texts == ["one", "two", "two"]
            session.reset()
        assert session.problems() == []
        session.when(model="custom_llm").respond(text="of the test")
        assert generate(session, "custom_llm").json()["text_output"] == "of the test"


@pytest.mark.parametrize(
    "text, message",
    [
        ("stubs: {}", ":1: 'stubs' must be a list"),
        ("stubs:\n  - respond: {text: a}", ":2: 'model' of stub 1: a stub is for one model: name it"),
        ("stubs:\n  - model: a", ":2: 'respond' of stub 1: respond is an answer, such as"),
        ("stubs:\n  - model: a\n    respond: []", ":3: 'respond' of stub 1: respond is an answer, such as"),
        (
            "stubs:\n  - model: a\n    respond: {txt: a}",
            ":3: 'respond' of stub 1: a reply has no field 'txt'; did you",
        ),
        ("stubs:\n  - model: a\n    answer: {}", ":3: 'answer' of stub 1: a stub has no field 'answer'"),
        ("stubs:\n  - model: a\n    inputs: 5", ":3: 'inputs' of stub 1: inputs are a mapping"),
        ("stubs:\n  - model: a\n    operation: ready", ":3: 'operation' of stub 1: 'ready' is no operation"),
        (
            "stubs:\n  - model: simple\n    inputs: {INPUT: [1]}\n    respond: {text: a}",
            ":3: 'inputs' of stub 1: model 'simple' has no input 'INPUT'; did you mean",
        ),
        (
            "stubs:\n  - model: simple\n    respond:\n      outputs: {OUTPUT0: [1]}",
            ":3: 'respond' of stub 1: OUTPUT0: the model has INT32[-1,16], not INT32[1]",
        ),
    ],
)
def test_a_file_that_means_no_stub_is_refused_with_its_line(
    repository: Path, text: str, message: str
) -> None:
    (repository / "emulator.yaml").write_text(text)
    with pytest.raises(SettingsError) as refused, Emulator(repository):
        pass
    assert str(refused.value).startswith(f"{repository}/emulator.yaml{message}")
