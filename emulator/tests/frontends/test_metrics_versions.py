"""Metrics that versions after 2.51 have: core r24.11 and r26.01, src/metrics.cc and src/metric_model_reporter.cc."""

import re
from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator
from triton_emulator.engine.first_responses import FirstResponses
from triton_emulator.protocol.messages import InferResponse
from triton_emulator.settings import TritonVersion

HISTOGRAM = "nv_inference_first_response_histogram_ms"


def metrics(version: TritonVersion, *, histograms: bool) -> str:
    """The metrics after one request to a model that is not decoupled."""
    config = (("histogram_latencies", "true"),) if histograms else ()
    with Emulator(triton_version=version, metrics_config=config, allow_grpc=False) as emulator:
        body = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1], "data": [1]}]}
        httpx.post(f"{emulator.http_url}/v2/models/identity_fp32/infer", json=body).raise_for_status()
        return httpx.get(emulator.metrics_url).text


def test_from_2_52_the_time_to_load_a_model_stands_behind_the_pending_requests() -> None:
    text = metrics("2.52.0", histograms=False)
    assert re.search(
        r"^nv_inference_pending_request_count\{.*\n"
        r"# HELP nv_model_load_duration_secs Model load time in seconds\n"
        r"# TYPE nv_model_load_duration_secs gauge\n"
        r"nv_model_load_duration_secs\{model=\".*\",version=\"1\"\} \d",
        text,
        re.MULTILINE,
    )
    assert "nv_model_load_duration_secs" not in metrics("2.51.0", histograms=False)


@pytest.mark.parametrize(
    "version, histograms, shown",
    [
        ("2.51.0", True, False),
        ("2.52.0", False, False),
        ("2.64.0", True, False),
        ("2.65.0", False, False),
        ("2.65.0", True, True),
    ],
)
def test_from_2_65_first_responses_of_every_model_are_timed(
    version: TritonVersion, histograms: bool, shown: bool
) -> None:
    text = metrics(version, histograms=histograms)
    assert (f'{HISTOGRAM}_count{{model="identity_fp32",version="1"}} 1' in text) is shown


def test_from_2_52_first_responses_of_decoupled_models_are_timed() -> None:
    text = metrics("2.52.0", histograms=True)
    names = set(re.findall(rf'^{HISTOGRAM}_count\{{model="(\w+)"', text, re.MULTILINE))
    assert names
    assert "identity_fp32" not in names


def test_the_histogram_is_written_as_the_others_are() -> None:
    lines = metrics("2.65.0", histograms=True).splitlines()
    labels = 'model="identity_fp32",version="1"'
    first = lines.index(f"{HISTOGRAM}_count{{{labels}}} 1")
    assert f"# HELP {HISTOGRAM} Duration from request to first response in milliseconds" in lines
    assert f"# TYPE {HISTOGRAM} histogram" in lines
    assert re.fullmatch(rf"{HISTOGRAM}_sum\{{{labels}\}} \d+", lines[first + 1])
    bounds = [
        re.fullmatch(rf'{HISTOGRAM}_bucket\{{{labels},le="(.*)"\}} \d', line)
        for line in lines[first + 2 :][:5]
    ]
    assert [bound and bound[1] for bound in bounds] == ["100", "500", "2000", "5000", "+Inf"]


@pytest.mark.parametrize(
    ("version", "namespacing", "label"),
    [("2.45.0", True, ""), ("2.46.0", True, ',namespace="{}"'), ("2.46.0", False, "")],
)
def test_from_2_46_a_model_has_its_namespace_as_a_label(
    tmp_path: Path, version: TritonVersion, namespacing: bool, label: str
) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    tensors = "{ name: 'X' data_type: TYPE_FP32 dims: 1 }"
    config = f"backend: 'identity' input {tensors} output {tensors}"
    (tmp_path / "m" / "config.pbtxt").write_text(config, encoding="utf-8")
    with Emulator(
        tmp_path, triton_version=version, model_namespacing=namespacing, allow_grpc=False
    ) as emulator:
        lines = httpx.get(emulator.metrics_url).text.splitlines()
    assert f'nv_inference_count{{model="m"{label.format(tmp_path)},version="1"}} 0' in lines


def _drop(response: InferResponse | None, final: bool) -> None:
    """Where a response goes does not matter here."""


def test_only_the_first_response_counts_and_a_bound_is_within_its_bucket() -> None:
    found = FirstResponses()
    deliver = found.watching(_drop)
    deliver(None, False)
    assert found.buckets == [0, 0, 0, 0, 0]
    for final in (False, False, True):
        deliver(InferResponse("m", "1", ""), final)
    assert sum(found.buckets) == 1
    found = FirstResponses()
    for milliseconds in (0, 100, 101, 5000, 5001):
        found.observe(milliseconds)
    assert (found.buckets, found.total) == ([2, 1, 0, 1, 1], 10202)
