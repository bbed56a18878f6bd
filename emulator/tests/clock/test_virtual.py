"""The virtual clock: latencies pass at once, pauses wait for `advance`, and what is shown has the modelled times."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc

from triton_emulator import Emulator, JournalEntry, Session, fault

SETTINGS = """
models:
  vllm: {behaviour: text, length: 4, time_to_first_token_ms: 120, time_per_token_ms: 20}
  embedding: {behaviour: embedding, delay_ms: 5000, slots: 1}
"""
PROMPT = {"text_input": "hi", "stream": True}
TOKENS = [0.12, 0.14, 0.16, 0.18]
pytestmark = pytest.mark.triton(clock="virtual")


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    path = tmp_path_factory.mktemp("settings") / "emulator.yaml"
    path.write_text(SETTINGS)
    with Emulator(emulator_config=path) as emulator:
        yield emulator


@pytest.fixture
def timed(emulator: Emulator) -> Iterator[Session]:
    """A session with a virtual clock, whose models have latencies."""
    with emulator.session(clock="virtual") as session:
        yield session


@pytest.fixture
def ask() -> Iterator[Callable[..., queue.SimpleQueue[httpx.Response | httpx.HTTPError]]]:
    """Asks in a thread; returns where the answer will be."""
    with ExitStack() as threads, httpx.Client(timeout=60) as client:

        def start(url: str, document: Any) -> queue.SimpleQueue[httpx.Response | httpx.HTTPError]:
            answers: queue.SimpleQueue[httpx.Response | httpx.HTTPError] = queue.SimpleQueue()

            def work() -> None:
                try:
                    answers.put(client.post(url, json=document))
                except httpx.HTTPError as error:
                    answers.put(error)

            thread = threading.Thread(target=work)
            thread.start()
            threads.callback(thread.join)
            return answers

        yield start


def stream(session: Session) -> httpx.Response:
    return httpx.post(f"{session.http_url}/v2/models/vllm/generate_stream", json=PROMPT)


def embed(session: Session) -> tuple[str, Any]:
    tensor = {"name": "input_text", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    return f"{session.http_url}/v2/models/embedding/infer", {"inputs": [tensor]}


def statistics(session: Session, model: str) -> Any:
    (found,) = httpx.get(f"{session.http_url}/v2/models/{model}/stats").json()["model_stats"]
    return found["inference_stats"]


# --- latencies pass at once ---


def test_the_journal_has_the_modelled_times(timed: Session) -> None:
    stream(timed)
    entry = timed.requests.last
    assert [event.seconds for event in entry.events] == TOKENS
    assert (entry.seconds, entry.queue_seconds, entry.compute_seconds) == (0.18, 0.0, 0.18)
    assert timed.clock.seconds == 0.18


def test_statistics_and_metrics_have_the_modelled_times(timed: Session) -> None:
    stream(timed)
    stream(timed)
    found = statistics(timed, "vllm")
    assert found["success"] == {"count": 2, "ns": 360_000_000}
    assert found["compute_infer"] == {"count": 2, "ns": 360_000_000}
    assert found["queue"] == {"count": 2, "ns": 0}
    metrics = httpx.get(timed.metrics_url).text
    assert 'nv_inference_request_duration_us{model="vllm",version="1"} 360000' in metrics


def test_a_stream_over_grpc_has_the_modelled_times(timed: Session) -> None:
    prompt = tritonclient.grpc.InferInput("text_input", [1], "BYTES")
    prompt.set_data_from_numpy(np.array([b"hi"], dtype=object))
    streamed = tritonclient.grpc.InferInput("stream", [1], "BOOL")
    streamed.set_data_from_numpy(np.array([True]))
    answers: queue.SimpleQueue[object] = queue.SimpleQueue()
    with tritonclient.grpc.InferenceServerClient(timed.grpc_url) as client:
        client.start_stream(lambda result, error: answers.put(error or result))
        client.async_stream_infer("vllm", [prompt, streamed])
        for _ in TOKENS:
            answers.get(timeout=60)
        client.stop_stream()
    assert [event.seconds for event in timed.requests.last.events] == TOKENS


def test_what_a_python_model_computes_takes_no_time(triton: Session) -> None:
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [1], "data": [1.5]}
    url = f"{triton.http_url}/v2/models/identity_fp32/infer"
    assert httpx.post(url, json={"inputs": [tensor]}).status_code == 200
    assert triton.requests.last.seconds == 0.0
    assert statistics(triton, "identity_fp32")["success"] == {"count": 1, "ns": 0}


def test_neither_does_one_with_a_process_of_its_own(emulator: Emulator) -> None:
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [1], "data": [1.5]}
    with emulator.session(clock="virtual", python_process_per_model=True) as session:
        url = f"{session.http_url}/v2/models/identity_fp32/infer"
        assert httpx.post(url, json={"inputs": [tensor]}).status_code == 200
        assert statistics(session, "identity_fp32")["success"] == {"count": 1, "ns": 0}


def test_sessions_have_clocks_of_their_own(emulator: Emulator, timed: Session) -> None:
    with emulator.session(clock="virtual") as other:
        other.clock.advance(7)
        assert (other.clock.seconds, timed.clock.seconds) == (7.0, 0.0)


# --- what is held ---


def test_held_tokens_come_as_the_clock_is_advanced(timed: Session, ask: Callable[..., Any]) -> None:
    with timed.clock.held():
        answers = ask(f"{timed.http_url}/v2/models/vllm/generate_stream", PROMPT)
        timed.clock.wait_for(1, timeout=60)
        timed.clock.advance(0.119)
        assert len(timed.requests.last.events) == 0
        timed.clock.advance(0.021)
        assert [event.seconds for event in timed.requests.last.events] == [0.12, 0.14]
    assert answers.get(timeout=60).status_code == 200
    assert [event.seconds for event in timed.requests.last.events] == TOKENS


def test_requests_queue_for_the_slots_of_a_model(timed: Session, ask: Callable[..., Any]) -> None:
    pending = 'nv_inference_pending_request_count{model="embedding",version="1"} '
    with timed.clock.held():
        answers = [ask(*embed(timed)) for _ in range(3)]
        while f"{pending}2" not in httpx.get(timed.metrics_url).text:
            pass
        timed.clock.advance(4.0)
        assert f"{pending}2" in httpx.get(timed.metrics_url).text
        timed.clock.advance(1.0)
        assert f"{pending}1" in httpx.get(timed.metrics_url).text
        timed.clock.advance(10.0)
    assert [answer.get(timeout=60).status_code for answer in answers] == [200, 200, 200]
    found = statistics(timed, "embedding")
    assert found["queue"] == {"count": 3, "ns": 15_000_000_000}
    assert found["compute_infer"] == {"count": 3, "ns": 15_000_000_000}
    times = sorted(entry.queue_seconds or 0.0 for entry in timed.requests.where("infer"))
    assert times == [0.0, 5.0, 10.0]


# --- pauses wait for the clock ---


def test_a_delay_ends_when_the_clock_is_advanced(triton: Session, ask: Callable[..., Any]) -> None:
    triton.inject(fault.delay(3.0), operation="server_ready")
    answers: queue.SimpleQueue[int] = queue.SimpleQueue()
    url = f"{triton.http_url}/v2/health/ready"
    asking = threading.Thread(target=lambda: answers.put(httpx.get(url, timeout=60).status_code))
    asking.start()
    triton.clock.wait_for(1, timeout=60)
    triton.clock.advance(2.5)
    assert answers.empty()
    assert triton.clock.waiting == 1
    triton.clock.advance(0.5)
    assert answers.get(timeout=60) == 200
    asking.join()
    assert triton.requests.last.seconds == 3.0


def test_a_delay_ends_by_the_latency_of_another_request(timed: Session, ask: Callable[..., Any]) -> None:
    timed.inject(fault.delay(4.0), model="vllm")
    answers = ask(f"{timed.http_url}/v2/models/vllm/generate_stream", PROMPT)
    timed.clock.wait_for(1, timeout=60)
    url, document = embed(timed)
    assert httpx.post(url, json=document).status_code == 200
    assert answers.get(timeout=60).status_code == 200
    waited, embedded = timed.requests
    assert (waited.seconds, embedded.seconds) == (4.18, 5.0)


def test_a_stall_lasts_until_the_clock_has_passed_it(timed: Session, ask: Callable[..., Any]) -> None:
    timed.inject(fault.stall(after_events=2, seconds=60), operation="generate_stream")
    answers = ask(f"{timed.http_url}/v2/models/vllm/generate_stream", PROMPT)
    timed.requests.wait_for(0)
    timed.clock.wait_for(1, timeout=60)
    while len(timed.requests.last.events) < 2:
        pass
    timed.clock.wait_for(1, timeout=60)
    timed.clock.advance(60)
    assert answers.get(timeout=60).status_code == 200
    first, second, third, *_ = timed.requests.last.events
    assert (first.seconds, second.seconds) == (0.12, 0.14)
    assert third.seconds >= 60.14


def test_a_body_that_drips_is_whole_when_the_clock_has_been_advanced_far_enough(
    triton: Session, ask: Callable[..., Any]
) -> None:
    triton.inject(fault.drip(100), operation="generate")
    answers = ask(f"{triton.http_url}/v2/models/custom_llm/generate", {"text_input": "hi", "max_tokens": 3})
    triton.clock.wait_for(1, timeout=60)
    triton.clock.advance(1000)
    answer = answers.get(timeout=60)
    assert triton.requests.last.seconds == pytest.approx(len(answer.content) / 100)


def test_a_server_gets_ready_when_the_clock_says_so(triton: Session) -> None:
    triton.inject(fault.not_ready(seconds=30))
    url = f"{triton.http_url}/v2/health/ready"
    assert httpx.get(url).status_code == 400
    triton.clock.advance(29)
    assert httpx.get(url).status_code == 400
    triton.clock.advance(1)
    assert httpx.get(url).status_code == 200


def test_a_client_that_gives_up_ends_its_pause(triton: Session) -> None:
    triton.inject(fault.delay(3.0), operation="server_ready")
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{triton.http_url}/v2/health/ready", timeout=0.05)
    triton.requests.wait_for(1, timeout=60)
    triton.clock.advance(0)  # the event loop has had its turns then
    assert triton.clock.waiting == 0


@pytest.mark.parametrize("clock", ["real", 0.01, "virtual"])
def test_a_pause_may_be_longer_than_any_number_of_nanoseconds(
    triton_emulator: Emulator, clock: str | float
) -> None:
    with triton_emulator.session(clock=clock) as session:
        session.inject(fault.delay(1e300), operation="server_live")
        session.inject(fault.not_ready(seconds=1e300))
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{session.http_url}/v2/health/live", timeout=0.05)
        assert httpx.get(f"{session.http_url}/v2/health/ready").status_code == 400


# --- schedulers ---

BATCHES = """
backend: "%s"
max_batch_size: 8
input { name: "X" data_type: TYPE_INT32 dims: [ 1 ] }
output { name: "Y" data_type: TYPE_INT32 dims: [ 1 ] }
"""
COPIES = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "X").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", each)]) for each in inputs]
"""
ROW = {"inputs": [{"name": "X", "datatype": "INT32", "shape": [1, 1], "data": [1]}]}


def write(folder: Path, config: str, *, backend: str, settings: str = "") -> Path:
    (folder / "m" / "1").mkdir(parents=True)
    (folder / "m" / "config.pbtxt").write_text(BATCHES % backend + config)
    (folder / "m" / "1" / "model.py").write_text(COPIES)
    if settings:
        (folder / "emulator.yaml").write_text(f"models: {{m: {settings}}}")
    return folder


def test_a_batch_that_nobody_joins_passes_its_delay_at_once(
    triton_emulator: Emulator, tmp_path: Path
) -> None:
    delay = "dynamic_batching { max_queue_delay_microseconds: 4000000 preferred_batch_size: [ 8 ] }"
    with triton_emulator.session(write(tmp_path, delay, backend="python"), clock="virtual") as session:
        assert httpx.post(f"{session.http_url}/v2/models/m/infer", json=ROW).status_code == 200
        assert session.requests.last.queue_seconds == 4.0


def test_a_held_batch_grows_until_the_clock_is_advanced(
    triton_emulator: Emulator, tmp_path: Path, ask: Callable[..., Any]
) -> None:
    delay = "dynamic_batching { max_queue_delay_microseconds: 4000000 preferred_batch_size: [ 8 ] }"
    with triton_emulator.session(write(tmp_path, delay, backend="python"), clock="virtual") as session:
        pending = 'nv_inference_pending_request_count{model="m",version="1"} 3'
        with session.clock.held():
            answers = [ask(f"{session.http_url}/v2/models/m/infer", ROW) for _ in range(3)]
            while pending not in httpx.get(session.metrics_url).text:
                pass
            session.clock.advance(4)
            assert [answer.get(timeout=60).status_code for answer in answers] == [200, 200, 200]
        (found,) = httpx.get(f"{session.http_url}/v2/models/m/stats").json()["model_stats"]
    assert [(batch["batch_size"], batch["compute_infer"]["count"]) for batch in found["batch_stats"]] == [
        (3, 1)
    ]
    assert found["inference_stats"]["queue"] == {"count": 3, "ns": 12_000_000_000}


QUEUE = """
dynamic_batching {
  default_queue_policy { default_timeout_microseconds: 100000 timeout_action: REJECT %s }
}
"""
SLOW = "{behaviour: synthetic, delay_ms: 5000, slots: 1}"


def test_a_request_times_out_in_the_queue_of_a_models_slots(
    triton_emulator: Emulator, tmp_path: Path, ask: Callable[..., Any]
) -> None:
    models = write(tmp_path, QUEUE % "", backend="onnxruntime", settings=SLOW)
    with triton_emulator.session(models, clock="virtual") as session, session.clock.held():
        url = f"{session.http_url}/v2/models/m/infer"
        first = ask(url, ROW)
        session.clock.wait_for(1, timeout=60)
        second = ask(url, ROW)
        session.clock.wait_for(2, timeout=60)
        session.clock.advance(0.2)
        refused = second.get(timeout=60)
        assert (refused.status_code, refused.json()) == (503, {"error": "Request timeout expired"})
        session.clock.advance(5)
        assert first.get(timeout=60).status_code == 200
        assert [entry.seconds for entry in session.requests] == [5.0, pytest.approx(0.101, abs=0.001)]


def test_a_request_is_refused_that_finds_the_queue_of_the_slots_full(
    triton_emulator: Emulator, tmp_path: Path, ask: Callable[..., Any]
) -> None:
    models = write(tmp_path, QUEUE % "max_queue_size: 1", backend="onnxruntime", settings=SLOW)
    with triton_emulator.session(models, clock="virtual") as session:
        url = f"{session.http_url}/v2/models/m/infer"
        with session.clock.held():
            answers = [ask(url, ROW)]
            session.clock.wait_for(1, timeout=60)
            answers.append(ask(url, ROW))
            session.clock.wait_for(2, timeout=60)
            full = httpx.post(url, json=ROW)
            assert full.json() == {"error": "[request id: <id_unknown>] Exceeds maximum queue size"}
            session.clock.advance(0.05)
        assert answers[0].get(timeout=60).status_code == 200
        assert answers[1].get(timeout=60).status_code == 503


def test_a_client_that_leaves_the_queue_of_the_slots_is_not_served(
    triton_emulator: Emulator, tmp_path: Path, ask: Callable[..., Any]
) -> None:
    models = write(tmp_path, "", backend="onnxruntime", settings=SLOW)
    with triton_emulator.session(models, clock="virtual") as session:
        url = f"{session.http_url}/v2/models/m/infer"
        with session.clock.held():
            first = ask(url, ROW)
            session.clock.wait_for(1, timeout=60)
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(url, json=ROW, timeout=0.05)
            while 'pending_request_count{model="m",version="1"} 0' not in httpx.get(session.metrics_url).text:
                pass
        assert first.get(timeout=60).status_code == 200
        assert session.clock.seconds == 5.0


def test_requests_that_are_answered_at_once_pass_through_one_slot(
    triton_emulator: Emulator, tmp_path: Path
) -> None:
    models = write(tmp_path, "", backend="onnxruntime", settings="{behaviour: synthetic, slots: 1}")
    with triton_emulator.session(models, clock="virtual") as session, httpx.Client() as client:
        url = f"{session.http_url}/v2/models/m/infer"
        assert [client.post(url, json=ROW).status_code for _ in range(3)] == [200, 200, 200]


def test_a_sequence_is_idle_only_when_the_clock_says_so(triton_emulator: Emulator, tmp_path: Path) -> None:
    idle = "sequence_batching { max_sequence_idle_microseconds: 1000000 }"
    with triton_emulator.session(write(tmp_path, idle, backend="python"), clock="virtual") as session:

        def infer(**parameters: object) -> int:
            given: dict[str, object] = {"sequence_id": 7, **parameters}
            document = {**ROW, "parameters": given}
            return httpx.post(f"{session.http_url}/v2/models/m/infer", json=document).status_code

        assert infer(sequence_start=True) == 200
        session.clock.advance(0.9)
        assert infer() == 200
        session.clock.advance(0.9)
        assert infer() == 200
        session.clock.advance(1.1)
        assert infer() == 400


# --- mistakes ---


@pytest.mark.parametrize("setting", ["real", 0.5])
def test_only_a_virtual_clock_is_moved_by_hand(triton_emulator: Emulator, setting: str | float) -> None:
    text = f"the clock is {setting!r}; only a virtual one is moved by hand: write clock='virtual'"
    with triton_emulator.session(clock=setting) as session:
        for move in (
            lambda: session.clock.advance(1),
            session.clock.held,
            session.clock.wait_for,
            lambda: session.clock.waiting,
        ):
            with pytest.raises(RuntimeError) as refused:
                move()
            assert str(refused.value) == text


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_the_clock_does_not_go_back(triton: Session, seconds: float) -> None:
    with pytest.raises(ValueError, match=r"^seconds is a number, 0 or more, not "):
        triton.clock.advance(seconds)


def test_too_few_waits_are_told(triton: Session) -> None:
    with pytest.raises(TimeoutError, match=r"^0 of 1 wait for the clock after 0.01 s$"):
        triton.clock.wait_for(1, timeout=0.01)


def test_a_function_of_a_plan_cannot_wait_for_the_clock(triton: Session) -> None:
    triton.allow("unfired")

    def advances(_: JournalEntry) -> bool:
        triton.clock.advance(1)
        return True

    plan = triton.inject(fault.error(503), where=advances)
    assert httpx.get(f"{triton.http_url}/v2/health/ready").status_code == 200
    assert str(plan.mistake) == "the emulator's own thread cannot wait for its clock"


def test_the_clock_of_an_emulator_that_has_stopped_stands_still() -> None:
    with Emulator(model_control_mode="explicit", clock="virtual") as emulator:
        clock = emulator.clock
        clock.advance(1)
    with pytest.raises(RuntimeError, match=r"^the emulator has stopped, and its clock with it$"):
        clock.advance(1)


def test_an_emulator_that_stops_ends_what_waits_for_its_clock_in_other_threads() -> None:
    emulator = Emulator(model_control_mode="explicit", clock="virtual").start()
    clock, ended = emulator.clock, queue.SimpleQueue[str]()
    begun = threading.Barrier(5)

    def advance() -> None:
        begun.wait()
        try:
            while True:
                clock.advance(1)
        except RuntimeError as told:
            ended.put(str(told))

    threads = [threading.Thread(target=advance, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait()
    emulator.stop()
    told = {ended.get(timeout=60) for _ in threads}
    assert told == {"the emulator has stopped, and its clock with it"}


@pytest.mark.parametrize("wrong", ["fast", 0, -1, True, float("nan"), None])
@pytest.mark.parametrize("make", [Emulator, Emulator().session], ids=["an emulator", "a session"])
def test_a_setting_that_is_no_clock_is_refused(make: Callable[..., object], wrong: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^clock is 'real', 'virtual' or a number above 0, such as 0.01, not "
    ):
        make(clock=wrong)
