"""The repository's routes over HTTP, as recorded from a real server: errors in a body, and files in one."""

import base64
import json
from collections.abc import Iterator

import httpx
import pytest

from emulator.tests.repository.config_case import MODEL_PY
from emulator.tests.repository.folders import write_model
from triton_emulator import Emulator

MISSING = (500, {"error": "failed to load 'zz', failed to poll from model repository"})
NO_MEMBERS = (500, {"error": "attempt to get members for non-object"})
NO_STRING = (500, {"error": "attempt to access JSON non-string as string"})
NO_BOOLEAN = (500, {"error": "attempt to access JSON non-boolean as boolean"})
NO_PARAMETER = (500, {"error": "unexpected error on creating Triton parameter"})
NO_JSON = (500, {"error": "failed to parse the request JSON buffer: Missing a name for object member. at 1"})


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("models")
    write_model(folder, "a")
    with Emulator(folder, model_control_mode="explicit") as triton:
        yield triton.url


@pytest.mark.parametrize(
    "body, answer",
    [
        ("", MISSING), ("{", NO_JSON), ("[]", MISSING), ("3", MISSING), ("null", MISSING), ("{}", MISSING),
        ('{"parameters":3}', NO_MEMBERS), ('{"parameters":[]}', NO_MEMBERS), ('{"parameters":null}', NO_MEMBERS),
        ('{"parameters":{"config":3}}', NO_STRING), ('{"parameters":{"file:1/x":3}}', NO_STRING),
        ('{"parameters":{"foo":true}}', NO_STRING), ('{"parameters":{"foo":"x"}}', NO_PARAMETER),
        ('{"parameters":{"unload_dependents":true}}', NO_STRING),
        ('{"parameters":{"file:1/x":"AA==","foo":1}}', NO_STRING),
    ],
)  # fmt: skip
def test_a_load_says_what_is_wrong_with_its_body(url: str, body: str, answer: tuple[int, object]) -> None:
    response = httpx.post(f"{url}/v2/repository/models/zz/load", content=body)
    assert (response.status_code, response.json()) == answer


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "3", "null", '{"parameters":3}', '{"parameters":{"unload_dependents":"x"}}']
)
def test_an_unload_accepts_any_body(url: str, body: str) -> None:
    response = httpx.post(f"{url}/v2/repository/models/zz/unload", content=body)
    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize(
    "body, answer",
    [
        ("", (200, [{"name": "a"}])), ("[]", (200, [{"name": "a"}])), ("null", (200, [{"name": "a"}])),
        ('{"ready":true}', (200, [])), ("{", NO_JSON), ('{"ready":3}', NO_BOOLEAN),
    ],
)  # fmt: skip
def test_an_index_says_what_is_wrong_with_its_body(url: str, body: str, answer: tuple[int, object]) -> None:
    response = httpx.post(f"{url}/v2/repository/index", content=body)
    assert (response.status_code, response.json()) == answer


def test_a_model_is_loaded_from_files_in_the_request(url: str) -> None:
    config = json.dumps(
        {"backend": "python", "input": [{"name": "IN", "data_type": "TYPE_FP32", "dims": [4]}]}
    )
    parameters = {"config": config, "file:1/model.py": base64.b64encode(MODEL_PY.encode()).decode()}
    response = httpx.post(f"{url}/v2/repository/models/fresh/load", json={"parameters": parameters})
    assert (response.status_code, response.content) == (200, b"")
    metadata = httpx.get(f"{url}/v2/models/fresh").json()
    assert metadata["inputs"] == [{"name": "IN", "datatype": "FP32", "shape": [4]}]
