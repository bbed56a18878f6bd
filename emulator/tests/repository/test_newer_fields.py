"""The fields of a configuration that versions after 2.51 have: common and core r24.11 and r25.11."""

import math
from pathlib import Path

import httpx
import pytest

from triton_emulator import Emulator
from triton_emulator.engine.first_responses import FirstResponses, bounds_of
from triton_emulator.protocol.errors import Code, TritonError
from triton_emulator.protocol.personality import personality
from triton_emulator.repository.config.from_json import parse_json_config
from triton_emulator.repository.config.pbtxt import ConfigError, parse_config
from triton_emulator.repository.config.to_json import config_json
from triton_emulator.repository.config.validation import check_config
from triton_emulator.repository.schema import Proto

FAMILY = "nv_inference_first_response_histogram_ms"
TEXT = 'name: "m" backend: "identity" max_batch_size: 0 version_policy { latest { num_versions: 1 } }'
TENSORS = 'input { name: "X" data_type: TYPE_FP32 dims: 1 } output { name: "X" data_type: TYPE_FP32 dims: 1 }'
BUCKETS = (
    f'model_metrics {{ metric_control {{ metric_identifier {{ family: "{FAMILY}" }} '
    "histogram_options { buckets: [ %s ] } } }"
)


def parsed(version: str, text: str) -> Proto:
    return parse_config(TEXT + text, unknown=personality(version).unknown_config_fields)


@pytest.mark.parametrize(
    "before, first, field",
    [
        ("2.51.0", "2.52.0", "model_metrics { }"),
        ("2.62.0", "2.63.0", "ensemble_scheduling { max_inflight_requests: 1 }"),
    ],
)
def test_a_field_is_unknown_before_its_version(before: str, first: str, field: str) -> None:
    with pytest.raises(ConfigError, match="has no field named"):
        parsed(before, field)
    parsed(first, field)


@pytest.mark.parametrize(
    "control, message",
    [
        ("", "metric control must specify 'metric_identifier'"),
        ("metric_identifier { }", "metric identifier must specify non-empty 'family'"),
        ('metric_identifier { family: "f" }', "metric control must specify 'histogram_options'"),
        (
            'metric_identifier { family: "f" } histogram_options { }',
            "histogram options must specify non-empty 'buckets'",
        ),
    ],
)
def test_a_metric_without_a_part_is_refused(control: str, message: str) -> None:
    config = parsed("2.52.0", f"model_metrics {{ metric_control {{ {control} }} }}")
    with pytest.raises(TritonError) as caught:
        check_config(config)
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARG, message)


def test_a_family_of_another_name_is_allowed_and_changes_nothing() -> None:
    control = 'metric_identifier { family: "nv_other" } histogram_options { buckets: 1 }'
    config = parsed("2.52.0", f"model_metrics {{ metric_control {{ {control} }} }}")
    check_config(config)
    assert tuple(bounds_of(config)) == (100, 500, 2000, 5000)


def test_the_last_buckets_of_a_family_count() -> None:
    config = parsed("2.52.0", BUCKETS % "1, 2")
    config.MergeFrom(parsed("2.52.0", BUCKETS % "-5.0, 3.5"))
    assert tuple(bounds_of(config)) == (-5.0, 3.5)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("100", "100"),
        ("2.5", "2.5"),
        ("-.1", "-0.1"),
        ("0.1234567890123456", "0.1234567890123456"),
        ("1e300", "1e300"),
        ("-inf", '"-Infinity"'),
        ("nan", '"NaN"'),
    ],
)
def test_a_bucket_is_a_double(text: str, shown: str) -> None:
    config = parsed("2.52.0", BUCKETS % text)
    assert f'"buckets":[{shown}]'.encode() in config_json(config)


@pytest.mark.parametrize("value", ["true", '"0x1"', '"1e999"', '"x"'])
def test_a_bucket_in_json_that_is_no_double_is_refused(value: str) -> None:
    text = f'{{"model_metrics":{{"metric_control":[{{"histogram_options":{{"buckets":[{value}]}}}}]}}}}'
    with pytest.raises(ValueError, match="buckets"):
        parse_json_config(text)


def test_a_bucket_in_json_is_a_double() -> None:
    text = '{"model_metrics":{"metric_control":[{"histogram_options":{"buckets":[1e300,"2.5","Infinity"]}}]}}'
    control = parse_json_config(text).model_metrics.metric_control[0]
    assert list(control.histogram_options.buckets) == [1e300, 2.5, math.inf]


def test_buckets_that_do_not_ascend_are_an_error_and_not_the_end() -> None:
    with pytest.raises(TritonError) as caught:
        FirstResponses((1.0, 1.0))
    assert (caught.value.code, caught.value.message) == (
        Code.INTERNAL,
        "Bucket Boundaries must be strictly sorted",
    )


def folder(root: Path, more: str, *, name: str = "m") -> Path:
    (root / name / "1").mkdir(parents=True)
    (root / name / "config.pbtxt").write_text(f'backend: "identity" {TENSORS} {more}', encoding="utf-8")
    return root


def test_the_metrics_have_the_buckets_of_the_config(tmp_path: Path) -> None:
    repository = folder(tmp_path, BUCKETS % "0.5, 1e6")
    with Emulator(
        repository,
        triton_version="2.65.0",
        metrics_config=(("histogram_latencies", "true"),),
        allow_grpc=False,
    ) as emulator:
        body = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1], "data": [1]}]}
        httpx.post(f"{emulator.http_url}/v2/models/m/infer", json=body).raise_for_status()
        lines = httpx.get(emulator.metrics_url).text.splitlines()
        shown = httpx.get(f"{emulator.http_url}/v2/models/m/config").json()
    bounds = [line.split('le="')[1].split('"')[0] for line in lines if line.startswith(f"{FAMILY}_bucket")]
    assert bounds == ["0.5", "1000000", "+Inf"]
    assert shown["model_metrics"] == {
        "metric_control": [
            {"metric_identifier": {"family": FAMILY}, "histogram_options": {"buckets": [0.5, 1000000]}}
        ]
    }


@pytest.mark.parametrize(("histograms", "status"), [("true", 400), ("false", 200)])
def test_buckets_that_do_not_ascend_matter_where_there_is_a_histogram(
    tmp_path: Path, histograms: str, status: int
) -> None:
    repository = folder(tmp_path, BUCKETS % "2, 1")
    with Emulator(
        repository,
        triton_version="2.65.0",
        metrics_config=(("histogram_latencies", histograms),),
        model_control_mode="explicit",
        allow_grpc=False,
    ) as emulator:
        load = httpx.post(f"{emulator.http_url}/v2/repository/models/m/load")
        assert (load.status_code == 200) is (status == 200)
        assert httpx.get(f"{emulator.http_url}/v2/models/m/ready").status_code == status
