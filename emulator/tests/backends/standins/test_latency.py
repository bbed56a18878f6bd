"""Latencies of stand-ins: distributions, files of perf_analyzer, genai-perf and aiperf, and what is wrong with them."""

import json
import threading
from pathlib import Path

import httpx
import pytest

from emulator.tests.backends.standins.driving import Given, Model
from triton_emulator import Emulator
from triton_emulator.backends.standins.latency import Latency, TokenTimes
from triton_emulator.backends.standins.measured import BadFile, Measured, parse
from triton_emulator.backends.standins.settings import ModelSettings
from triton_emulator.cxx.numbers import INT32_MAX
from triton_emulator.yaml_nodes import SettingsError

LLM = """
backend: "vllm"
model_transaction_policy { decoupled: true }
input { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] }
input { name: "stream" data_type: TYPE_BOOL dims: [ 1 ] optional: true }
output { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] }
"""
DETECTOR = """
backend: "onnxruntime"
input { name: "X" data_type: TYPE_FP32 dims: [ 1 ] }
output { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }
"""
ASKED: Given = {"text_input": ("BYTES", ["hi"]), "stream": ("BOOL", [True])}
X: Given = {"X": ("FP32", [1.5])}


# --- distributions ---


def test_the_median_and_the_99th_percentile_are_those_that_were_asked_for() -> None:
    values = sorted(Latency(120, 400).draw("seed"))
    assert len(values) == 1024
    assert (values[511] + values[512]) / 2 == pytest.approx(120, rel=1e-3)
    assert values[1013] == pytest.approx(400, rel=0.02)
    assert values[0] > 0


def test_the_same_seed_gives_the_same_latencies_and_another_one_others() -> None:
    latency = Latency(120, 400)
    assert latency.draw("a") == latency.draw("a")
    assert latency.draw("a") != latency.draw("b")
    assert sorted(latency.draw("a")) == sorted(latency.draw("b"))


def test_a_latency_is_never_infinite() -> None:
    assert max(Latency(1e-300, 1e300).draw("seed")) == pytest.approx(1e15)


def test_a_distribution_without_a_spread_is_a_constant() -> None:
    assert Latency(120, 120).draw("seed") == (120,)


def test_the_whole_answer_takes_as_long_as_its_tokens_one_after_the_other() -> None:
    times = TokenTimes(Latency(100, 300), Latency(10, 40), "seed")
    tokens = [times.token(3, number) for number in range(1, 5)]
    assert len(set(tokens)) == 4
    assert times.whole(3, 5) == pytest.approx(times.first(3) + sum(tokens))
    assert TokenTimes(100, 10, "seed").whole(3, 5) == 140
    assert TokenTimes(100, 10, "seed").whole(3, 0) == 100


SPREAD = (
    "{behaviour: text, length: 3, time_to_first_token_ms: {median: 120, p99: 400},"
    " time_per_token_ms: {median: 15, p99: 30}%s}"
)


def test_each_request_has_its_own_latencies_and_a_fresh_server_the_same_ones_again() -> None:
    model, again, other = (Model(LLM, SPREAD % seed) for seed in ("", "", ", seed: 1"))
    times = [[tuple(each.ask(ASKED).times) for _ in range(3)] for each in (model, again, other)]
    assert len(set(times[0])) == 3
    assert times[0] == times[1]
    assert not set(times[0]) & set(times[2])


def test_a_model_that_answers_at_once_has_latencies_too() -> None:
    first, again = (Model(DETECTOR, "{delay_ms: {median: 5, p99: 50}}") for _ in range(2))
    times = [[each.ask(X).times for _ in range(4)] for each in (first, again)]
    assert times[0] == times[1]
    assert times[0][0] != times[0][1]


# --- files ---

CSV = """\
Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,\
Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency
1,69.2,225,2148,64,206,11781,19,0,13891,18795,19753,21018
3,84.2,237,1768,21673,209,11742,17,0,35398,43984,47085,51701
2,87.2,235,1973,9151,190,11346,17,0,21874,28557,29768,34766
"""
EXPORT = {
    "schema_version": "1.3",
    "request_latency": {"unit": "ms", "avg": 2413.5, "p50": 2431.75, "p99": 2439.45},
    "time_to_first_token": {"unit": "ms", "avg": 195.84, "p50": 175.05, "p90": 251.45, "p99": 253.45},
    "inter_token_latency": {"unit": "ms", "avg": 35.2, "p50": 34.73, "p90": 35.95, "p99": 35.96},
}


def test_a_csv_of_perf_analyzer_has_a_latency_for_each_concurrency() -> None:
    assert parse(CSV, "perf.csv") == Measured(
        "perf.csv",
        whole=((1, Latency(13.891, 21.018)), (2, Latency(21.874, 34.766)), (3, Latency(35.398, 51.701))),
    )


def test_a_csv_by_request_rate_has_one_for_any() -> None:
    text = "Request Rate,p50 latency,p99 latency\n10,2000,3000\n"
    assert parse(text, "perf.csv").whole == ((INT32_MAX, Latency(2, 3)),)


def test_an_export_of_genai_perf_or_aiperf_has_the_latencies_of_tokens() -> None:
    found = parse(json.dumps(EXPORT), "profile_export_aiperf.json")
    assert found.first == Latency(175.05, 253.45)
    assert found.rest == Latency(34.73, 35.96)
    assert found.whole == ((INT32_MAX, Latency(2431.75, 2439.45)),)


def test_an_export_may_be_in_another_unit() -> None:
    text = '{"time_to_first_token": {"unit": "s", "p50": 0.25, "p99": 0.5}}'
    assert parse(text, "export.json").first == Latency(250, 500)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "there is no column 'p50 latency': it is neither a CSV of perf_analyzer -f nor JSON"),
        ("Concurrency,p50 latency\n1,2\n", 1, "there is no column 'p99 latency': it is neither a CSV of"),
        ("Concurrency,p50 latency,p99 latency\n", 0, "it has no rows"),
        ("Concurrency,p50 latency,p99 latency\n1,5\n", 2, "it has 2 fields, the first line has 3"),
        (
            "Concurrency,p50 latency,p99 latency\n1,5,6\n\n2,5,abc\n",
            4,
            "'p99 latency' is a number of microseconds above 0, not 'abc'",
        ),
        ("Concurrency,p50 latency,p99 latency\n1,nan,6\n", 2, "'p50 latency' is a number of microseconds"),
        ("Concurrency,p50 latency,p99 latency\n1,7,6\n", 2, "'p99 latency' is below 'p50 latency'"),
        ("Concurrency,p50 latency,p99 latency\nx,5,6\n", 2, "'Concurrency' is a number of requests, not 'x'"),
        ("Concurrency,p50 latency,p99 latency\n0,5,6\n", 2, "'Concurrency' is a number of requests, not '0'"),
        (
            f"Concurrency,p50 latency,p99 latency\n{'9' * 5000},5,6\n",
            2,
            "'Concurrency' is a number of requests, not '9999999",
        ),
        ("Concurrency,p50 latency,p99 latency\n1,5,6\n1,5,6\n", 3, "'Concurrency' 1 is there twice"),
        (
            "Request Rate,p50 latency,p99 latency\n1,5,6\n2,5,6\n",
            3,
            "a measurement by request rate has one row",
        ),
        ("{", 1, "not JSON: Expecting property name enclosed in double quotes"),
        ("{\n}", 1, "it has neither 'time_to_first_token' nor 'request_latency'"),
        ('{\n "request_latency": 5}', 2, "'request_latency' is an object with a unit and percentiles, not 5"),
        (
            '{"a": 1,\n\n "request_latency": {"p50": 1}}',
            3,
            "'request_latency.p99' is a number above 0, not None",
        ),
        (
            '{"request_latency": {"p50": -1, "p99": 1}}',
            1,
            "'request_latency.p50' is a number above 0, not -1",
        ),
        ('{"request_latency": {"p50": 1e999, "p99": 1}}', 1, "'request_latency.p50' is a number above 0"),
        (
            '{"request_latency": {"p50": 2, "p99": 1}}',
            1,
            "'request_latency.p99' is below 'request_latency.p50'",
        ),
        (
            '{"request_latency": {"unit": "h", "p50": 1, "p99": 1}}',
            1,
            "'request_latency.unit' is one of ms, s, sec, us, ns, not 'h'",
        ),
        ('{"request_latency": {"unit": [], "p50": 1, "p99": 1}}', 1, "'request_latency.unit' is one of"),
        ('{"a": ' * 100_000, 1, "not JSON: "),
        ('{"a": ' + "9" * 5000 + "}", 1, "not JSON: "),
        ('{"request_latency": {"p50": 1, "p99": ' + "9" * 400 + "}}", 1, "'request_latency.p99' is a number"),
        (
            f"Concurrency,p50 latency,p99 latency\n0000000001{'9' * 5000},5,6\n",
            2,
            "'Concurrency' is a number of requests, not '00000",
        ),
        (f"Concurrency,p50 latency,p99 latency\n1,5,{'6' * 200_000}\n", 0, "not CSV: field larger than"),
    ],
)
def test_a_file_that_means_nothing_is_refused_with_line_and_field(text: str, line: int, message: str) -> None:
    with pytest.raises(BadFile) as refused:
        parse(text, "file")
    assert refused.value.line == line
    assert str(refused.value).startswith(message)


# --- from emulator.yaml ---


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{median: 5}", "must be a number of milliseconds or {median: 120, p99: 400}"),
        ("{median: 5, p99: 4}", "must have a median above 0, and a p99 that is not below it"),
        ("{median: 0, p99: 4}", "must have a median above 0, and a p99 that is not below it"),
        ("{median: -1, p99: 4}", "must be a number of milliseconds"),
        ("{median: a, p99: 4}", "must be a number of milliseconds"),
        ("[5, 6]", "must be a number of milliseconds"),
    ],
)
def test_a_latency_that_means_nothing_is_refused_with_its_line(value: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        ModelSettings.parse(f"models:\n  m:\n    delay_ms: {value}")
    assert str(refused.value) == f"emulator.yaml:3: 'delay_ms' in model 'm' {message}"


def test_a_file_of_latencies_is_found_beside_the_settings_and_refused_by_its_own_line(tmp_path: Path) -> None:
    settings = tmp_path / "emulator.yaml"
    settings.write_text("models:\n  m: {latency_from: perf.csv}")
    (tmp_path / "perf.csv").write_text(CSV)
    assert ModelSettings.read(settings).for_model("m") == {"latency_from": parse(CSV, "perf.csv")}
    (tmp_path / "perf.csv").write_text(CSV + "4,1\n")
    with pytest.raises(SettingsError) as refused:
        ModelSettings.read(settings)
    assert str(refused.value) == f"{tmp_path}/perf.csv:5: it has 2 fields, the first line has 13"
    (tmp_path / "perf.csv").unlink()
    with pytest.raises(SettingsError) as refused:
        ModelSettings.read(settings)
    assert str(refused.value).startswith(
        f"{settings}:2: 'latency_from' in model 'm' cannot be read: [Errno 2] No such file or directory"
    )


def test_more_requests_at_a_time_take_longer_as_they_did_when_it_was_measured(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text(DETECTOR)
    (tmp_path / "perf.csv").write_text("Concurrency,p50 latency,p99 latency\n1,5000,5000\n2,9000,9000\n")
    (tmp_path / "emulator.yaml").write_text("models: {m: {latency_from: perf.csv}}")
    row = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1], "data": [1]}]}
    with Emulator(tmp_path, clock="virtual") as triton:
        url = f"{triton.http_url}/v2/models/m/infer"
        threads = [threading.Thread(target=httpx.post, args=(url,), kwargs={"json": row}) for _ in range(2)]
        with triton.clock.held():
            for at_work, thread in enumerate(threads, 1):
                thread.start()
                triton.clock.wait_for(at_work, timeout=60)
            triton.clock.advance(1)
        for thread in threads:
            thread.join()
        assert httpx.post(url, json=row).status_code == 200
        assert [entry.seconds for entry in triton.requests] == [0.005, 0.009, 0.005]


def test_an_export_gives_a_language_model_its_latencies_unless_the_settings_do(tmp_path: Path) -> None:
    export = dict(
        EXPORT, time_to_first_token={"p50": 100, "p99": 100}, inter_token_latency={"p50": 7, "p99": 7}
    )
    (tmp_path / "export.json").write_text(json.dumps(export))
    settings = tmp_path / "emulator.yaml"
    settings.write_text(
        "models:\n"
        "  vllm: {behaviour: text, length: 3, latency_from: export.json}\n"
        "  custom_llm: {behaviour: text, length: 3, latency_from: export.json, time_per_token_ms: 1}\n"
    )
    with Emulator(emulator_config=settings, clock="virtual") as triton:
        for model in ("vllm", "custom_llm"):
            httpx.post(f"{triton.http_url}/v2/models/{model}/generate", json={"text_input": "hi"})
        assert [entry.seconds for entry in triton.requests] == [0.114, 0.102]


@pytest.mark.parametrize(
    ("model", "settings", "file", "needs"),
    [
        ("vllm", "{behaviour: text, latency_from: file}", CSV, "latencies of tokens, as the JSON of"),
        (
            "embedding",
            "{behaviour: embedding, latency_from: file}",
            '{"time_to_first_token": {"p50": 1, "p99": 1}}',
            "latencies of whole requests (request_latency), which model 'embedding' needs",
        ),
    ],
)
def test_a_model_does_not_load_whose_file_lacks_its_latencies(
    tmp_path: Path, model: str, settings: str, file: str, needs: str
) -> None:
    (tmp_path / "file").write_text(file)
    (tmp_path / "emulator.yaml").write_text(f"models: {{{model}: {settings}}}")
    with Emulator(emulator_config=tmp_path / "emulator.yaml", exit_on_error=False) as triton:
        index = httpx.post(f"{triton.http_url}/v2/repository/index").json()
    (reason,) = (entry["reason"] for entry in index if entry["name"] == model)
    assert f"'latency_from' in emulator.yaml: file has no {needs}" in reason


def test_slots_mean_nothing_for_a_model_with_sequences(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text(DETECTOR + "max_batch_size: 1 sequence_batching {}")
    (tmp_path / "emulator.yaml").write_text("models: {m: {slots: 2}}")
    with Emulator(tmp_path, exit_on_error=False) as triton:
        (model,) = httpx.post(f"{triton.http_url}/v2/repository/index").json()
    assert "'slots' in emulator.yaml: model 'm' has sequence_batching" in model["reason"]
