"""Latencies over the control API, and their sliders on the console, in Chromium."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulator.tests.control.browser import Browser, Page, opened
from triton_emulator import Emulator

DETECTOR = """
backend: "onnxruntime"
input { name: "IMAGE" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "BOXES" data_type: TYPE_FP32 dims: [ 4 ] }
"""
RUNS = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        raise NotImplementedError
"""
GIVEN = """
models:
  llm: {length: 3, time_to_first_token_ms: 120, time_per_token_ms: {median: 20, p99: 80}}
  measured: {latency_from: measured.csv}
"""
#: as perf_analyzer writes it, for two loads
MEASURED = (
    "Concurrency,Inferences/Second,Client Send,p50 latency,p90 latency,p95 latency,p99 latency\n"
    "1,100,0,10000,11000,12000,20000\n2,150,0,12000,14000,15000,30000\n"
)
SETTINGS: dict[str, Any] = {"control": True, "clock": "virtual"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, config in (
        ("detector", DETECTOR),
        ("measured", DETECTOR),
        ("llm", 'backend: "vllm"'),
        ("runs", DETECTOR.replace("onnxruntime", "python")),
    ):
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(config)
    (folder / "runs" / "1" / "model.py").write_text(RUNS)
    (folder / "emulator.yaml").write_text(GIVEN)
    (folder / "measured.csv").write_text(MEASURED)
    return folder


@pytest.fixture
def emulator(repository: Path) -> Iterator[Emulator]:
    with Emulator(repository, **SETTINGS) as emulator:
        yield emulator


@pytest.fixture
def api(emulator: Emulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{emulator.control_url}/sessions/root/") as client:
        yield client


def seconds_of(emulator: Emulator) -> float:
    """What an inference by the detector takes, by the virtual clock."""
    tensor = {"name": "IMAGE", "datatype": "FP32", "shape": [1], "data": [0]}
    url = f"{emulator.http_url}/v2/models/detector/infer"
    assert httpx.post(url, json={"inputs": [tensor]}).status_code == 200
    return emulator.requests.wait_for(1).last.seconds or 0.0


def times_of(emulator: Emulator) -> list[float]:
    """When the tokens of a stream come, by the virtual clock."""
    url = f"{emulator.http_url}/v2/models/llm/generate_stream"
    body = {"text_input": "hi", "stream": True, "exclude_input_in_output": True}
    assert httpx.post(url, json=body).status_code == 200
    return [event.seconds for event in emulator.requests.wait_for(1).last.events]


def constant(ms: float) -> dict[str, float]:
    return {"median": ms, "p99": ms}


LLM = {
    "name": "llm",
    "version": 1,
    "delay_ms": None,
    "time_to_first_token_ms": constant(120),
    "time_per_token_ms": {"median": 20, "p99": 80},
    "measured": [],
    "changed": [],
}


def test_the_latencies_of_stand_ins_are_listed(api: httpx.Client) -> None:
    none: dict[str, Any] = {
        "time_to_first_token_ms": None,
        "time_per_token_ms": None,
        "version": 1,
        "changed": [],
    }
    assert api.get("latencies").json() == [
        {"name": "detector", "delay_ms": constant(0), "measured": [], **none},
        LLM,
        {"name": "measured", "delay_ms": None, "measured": ["delay_ms"], **none},
    ]


def test_a_latency_that_is_set_is_what_requests_take(api: httpx.Client, emulator: Emulator) -> None:
    assert seconds_of(emulator) == 0
    (now,) = api.post("latencies", json={"model": "detector", "delay_ms": 250}).json()
    assert (now["delay_ms"], now["changed"]) == (constant(250), ["delay_ms"])
    assert api.get("latencies").json()[0] == now
    assert seconds_of(emulator) == 0.25
    api.post("latencies", json={"model": "detector", "delay_ms": None})
    assert seconds_of(emulator) == 0


def test_a_distribution_has_its_median_and_its_99th_percentile(api: httpx.Client, emulator: Emulator) -> None:
    taken = {"median": 100, "p99": 400}
    api.post("latencies", json={"model": "detector", "delay_ms": taken})
    drawn = sorted(seconds_of(emulator) for _ in range(200))
    assert drawn[0] < 0.1 < drawn[-1]
    assert 0.09 < drawn[100] < 0.11


def test_the_latencies_of_tokens_are_set_alone_or_together(api: httpx.Client, emulator: Emulator) -> None:
    given = {"model": "llm", "version": 1, "time_to_first_token_ms": 500}
    (now,) = api.post("latencies", json=given).json()
    assert now == {**LLM, "time_to_first_token_ms": constant(500), "changed": ["time_to_first_token_ms"]}
    assert times_of(emulator)[0] == 0.5
    given = {"model": "llm", "time_to_first_token_ms": 0, "time_per_token_ms": 1000}
    assert api.post("latencies", json=given).status_code == 200
    assert times_of(emulator) == [0, 1, 2]


@pytest.mark.parametrize("began", [100, {"median": 20, "p99": 80}], ids=["a constant", "a distribution"])
def test_a_stream_that_is_under_way_keeps_its_times(
    api: httpx.Client, emulator: Emulator, began: float | dict[str, float]
) -> None:
    api.post("latencies", json={"model": "llm", "time_per_token_ms": began})
    expected = times_of(emulator)
    api.post("latencies", json={"model": "llm", "time_per_token_ms": began})  # the first times again
    with ThreadPoolExecutor(1) as client:
        with emulator.clock.held():
            stream = client.submit(times_of, emulator)
            emulator.clock.wait_for(1)
            api.post("latencies", json={"model": "llm", "time_per_token_ms": 60_000})
            emulator.clock.advance(1)
        assert stream.result(60) == expected
    assert times_of(emulator)[1] == 60.12


def test_a_measurement_is_replaced_and_restored(api: httpx.Client) -> None:
    (now,) = api.post("latencies", json={"model": "measured", "delay_ms": 5}).json()
    assert (now["delay_ms"], now["measured"], now["changed"]) == (constant(5), [], ["delay_ms"])
    (now,) = api.post("latencies", json={"model": "measured", "delay_ms": None}).json()
    assert (now["delay_ms"], now["measured"], now["changed"]) == (None, ["delay_ms"], [])


def test_a_reset_restores_latencies(api: httpx.Client, emulator: Emulator) -> None:
    before = api.get("latencies").json()
    api.post("latencies", json={"model": "detector", "delay_ms": 250})
    api.post("latencies", json={"model": "llm", "time_per_token_ms": 1})
    emulator.reset()
    assert api.get("latencies").json() == before
    assert seconds_of(emulator) == 0


def test_the_latencies_of_a_session_are_its_own(emulator: Emulator, api: httpx.Client) -> None:
    with emulator.session() as session:
        url = f"{emulator.control_url}/sessions/{session.id}/latencies"
        httpx.post(url, json={"model": "detector", "delay_ms": 250})
    assert api.get("latencies").json()[0]["delay_ms"] == constant(0)


@pytest.mark.parametrize(
    "given, field, text",
    [
        (
            {"model": "runs", "delay_ms": 1},
            "model",
            (
                "no stand-in answers for the model 'runs': a model.py takes its own time; a plan with delay(...) lets "
                "its requests wait"
            ),
        ),
        (
            {"model": "llm", "version": 7, "time_per_token_ms": 1},
            "model",
            "the model 'llm' version 7 is not loaded; GET .../models has those that are",
        ),
        (
            {"model": "lm", "time_per_token_ms": 1},
            "model",
            "the model 'lm' is not loaded; GET .../models has those that are",
        ),
        (
            {"model": "llm", "delay_ms": 1},
            "delay_ms",
            "the model 'llm' has time_to_first_token_ms and time_per_token_ms, not delay_ms",
        ),
        ({"model": "detector"}, None, "give delay_ms"),
        (
            {"model": "detector", "delay_ms": {"median": 9, "p99": 8}},
            "delay_ms",
            "a latency must have a median above 0, and a p99 that is not below it",
        ),
        (
            {"model": "detector", "delay_ms": {"median": 0, "p99": 8}},
            "delay_ms",
            "a latency must have a median above 0, and a p99 that is not below it",
        ),
        ({"model": "detector", "delay_ms": -1}, "delay_ms", "delay_ms: "),
        ({"model": "detector", "delay": 1}, "delay", "delay: there is no such field"),
        ({"model": "detector", "delay_ms": "fast"}, "delay_ms", "delay_ms: Input should be a valid number"),
        ({"model": "detector", "delay_ms": {"median": 9}}, "delay_ms.p99", "delay_ms.p99: Field required"),
        (
            {"model": "detector", "delay_ms": {"median": 9, "p99": 10, "p98": 9}},
            "delay_ms.p98",
            "delay_ms.p98: there is no such field",
        ),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_latency_that_means_nothing_is_refused_with_its_field(
    api: httpx.Client, given: Any, field: str | None, text: str
) -> None:
    before = api.get("latencies").json()
    refused = api.post("latencies", json=given)
    assert (refused.status_code, refused.json()["field"]) == (422, field)
    assert refused.json()["error"].startswith(text)
    assert api.get("latencies").json() == before


def test_in_front_of_a_real_server_there_are_none(emulator: Emulator) -> None:
    with Emulator(upstream=emulator.http_url, control=True) as front:
        for answer in (
            httpx.get(f"{front.control_url}/sessions/root/latencies"),
            httpx.post(f"{front.control_url}/sessions/root/latencies", json={"model": "a", "delay_ms": 1}),
        ):
            assert answer.status_code == 409
            assert answer.json()["error"].startswith("the models are those of the upstream")


# --- the sliders ---


@pytest.fixture
def page(browser: Browser, emulator: Emulator) -> Iterator[Page]:
    with opened(browser, emulator.control_url) as page:
        page.until("document.querySelectorAll('#latencies fieldset').length === 3")
        yield page


def slider(model: int, latency: str, end: str) -> str:
    """The slider of the n-th model."""
    return f"#latencies fieldset:nth-of-type({model}) [data-latency={latency}] [data-end={end}]"


def shown(page: Page, model: int, latency: str) -> list[str]:
    """What is said of a latency: the texts beside its sliders, which are those that a screen reader reads."""
    one = [json.dumps(slider(model, latency, end)) for end in ("median", "p99")]
    texts, read = (
        [page.value(expression.format(each)) for each in one]
        for expression in (
            "document.querySelector({}).parentElement.querySelector('output').textContent",
            "document.querySelector({}).getAttribute('aria-valuetext')",
        )
    )
    assert texts == read
    return [str(text) for text in texts]


def test_the_sliders_show_what_models_take(page: Page) -> None:
    assert page.text("#latencies legend") == "detector / 1"
    assert shown(page, 1, "delay_ms") == ["0 ms", "0 ms"]
    assert shown(page, 2, "time_to_first_token_ms") == ["120 ms", "120 ms"]
    assert shown(page, 2, "time_per_token_ms") == ["20 ms", "80 ms"]
    assert shown(page, 3, "delay_ms") == ["as measured", "as measured"]
    assert page.value("document.querySelector('#no-latencies').hidden")


def test_a_slider_that_is_moved_by_keyboard_is_what_requests_take(page: Page, emulator: Emulator) -> None:
    page.tab_to(f"it.matches({json.dumps(slider(1, 'delay_ms', 'median'))})")
    name = page.value("document.activeElement.getAttribute('aria-label')")
    assert name == "detector: answer, median"
    page.press("ArrowRight")
    page.until("document.querySelector('#said').textContent === 'detector: answer 1 ms'")
    page.press("End")
    page.until("document.querySelector('#said').textContent === 'detector: answer 60 s'")
    assert seconds_of(emulator) == 60
    assert shown(page, 1, "delay_ms") == ["60 s", "60 s"]
    page.press("Home")
    page.until("document.querySelector('#said').textContent === 'detector: answer 0 ms'")
    assert seconds_of(emulator) == 0
    assert page.value(f"document.activeElement.matches({json.dumps(slider(1, 'delay_ms', 'median'))})")


def test_the_median_is_never_above_the_99th_percentile(page: Page, emulator: Emulator) -> None:
    first = "time_per_token_ms"
    page.fill(slider(2, first, "median"), "15")  # the 15th step
    page.until("document.querySelector('#said').textContent === 'llm: each further token 150 ms'")
    assert shown(page, 2, first) == ["150 ms", "150 ms"]
    page.fill(slider(2, first, "p99"), "21")
    page.until("document.querySelector('#said').textContent.endsWith(', 99th percentile 1 s')")
    assert shown(page, 2, first) == ["150 ms", "1 s"]
    page.fill(slider(2, first, "p99"), "1")
    page.until("document.querySelector('#said').textContent === 'llm: each further token 1 ms'")
    assert times_of(emulator) == [0.12, 0.121, 0.122]


def test_the_latencies_of_a_model_are_restored_with_a_button(page: Page, emulator: Emulator) -> None:
    button = "#latencies fieldset:nth-of-type(3) button"
    assert page.value(f"document.querySelector('{button}').hidden")
    page.fill(slider(3, "delay_ms", "p99"), "1")
    page.until(f"!document.querySelector('{button}').hidden")
    assert shown(page, 3, "delay_ms") == ["1 ms", "1 ms"]
    page.tab_to(f"it.matches('{button}')")
    assert (
        page.value("document.activeElement.getAttribute('aria-label')") == "Restore the latencies of measured"
    )
    page.press("Enter")
    page.until(f"document.querySelector('{button}').hidden")
    assert shown(page, 3, "delay_ms") == ["as measured", "as measured"]
    assert page.value("document.activeElement.id") == "latency"


def test_what_another_client_sets_is_seen_and_a_reset_is(page: Page, emulator: Emulator) -> None:
    url = f"{emulator.control_url}/sessions/root/latencies"
    httpx.post(url, json={"model": "detector", "delay_ms": {"median": 1234, "p99": 5000}})
    text = f"document.querySelector({json.dumps(slider(1, 'delay_ms', 'median'))}).ariaValueText"
    page.until(f"{text} === '1.234 s'")
    assert shown(page, 1, "delay_ms") == ["1.234 s", "5 s"]
    page.click("#forget")
    page.until(f"{text} === '0 ms'")


def test_without_stand_ins_the_page_says_what_to_do(browser: Browser) -> None:
    with (
        Emulator(model_control_mode="explicit", control=True) as emulator,
        opened(browser, emulator.control_url) as page,
    ):
        page.until("!document.querySelector('#no-latencies').hidden")
        assert "A plan with delay(...) lets its requests wait." in page.text("#no-latencies")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1400])
def test_the_sliders_fit_their_window_and_have_names(page: Page, scheme: str, width: int) -> None:
    page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.ask("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    assert page.value("document.documentElement.scrollWidth <= innerWidth")
    nodes = page.ask("Accessibility.getFullAXTree")["nodes"]
    names = [node["name"]["value"] for node in nodes if node["role"]["value"] == "slider"]
    assert names == [
        f"{model}, {end}"
        for model in (
            "detector: answer",
            "llm: first token",
            "llm: each further token",
            "measured: answer",
        )
        for end in ("median", "99th percentile")
    ]
