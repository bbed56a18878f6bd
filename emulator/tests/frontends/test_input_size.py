"""How large a request over HTTP may be, by version and by part: the last size accepted, the first one refused."""

import gzip
import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from triton_emulator import Emulator
from triton_emulator.settings import TritonVersion

LIMIT = 200
ADVICE = "Use --http-max-input-size to increase the limit."
BYTE_SIZE = " has a byte_size ({} bytes) that exceeds the maximum allowed value of {} bytes. " + ADVICE
IDENTITY = "/v2/models/identity_fp32/infer"
STRINGS = "/v2/models/simple_identity/infer"
GENERATE = "/v2/models/trtllm/generate"
VERSIONS: tuple[TritonVersion, ...] = ("2.51.0", "2.58.0", "2.59.0", "2.62.0", "2.65.0", "2.68.0", "2.72.0")

Headers = dict[str, str]


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Emulator]]:
    """An emulator of each version, with the limit."""
    with ExitStack() as stack:
        yield {
            version: stack.enter_context(
                Emulator(triton_version=version, http_max_input_size=LIMIT, allow_grpc=False)
            )
            for version in VERSIONS
        }


def ask(triton: Emulator, path: str, body: bytes, headers: Headers | None = None) -> tuple[int, str]:
    """The status, and the error's text or ""."""
    connection = http.client.HTTPConnection(triton.http_url.removeprefix("http://"))
    try:
        connection.request("POST", path, body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    return answer.status, json.loads(content)["error"] if answer.status != 200 else ""


def numbers(count: int, shape: int | None = None) -> bytes:
    data = {"name": "INPUT0", "datatype": "FP32", "shape": [shape or count], "data": [1] * count}
    return json.dumps({"inputs": [data]}, separators=(",", ":")).encode()


def padded(size: int) -> bytes:
    return numbers(1).ljust(size)


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
@pytest.mark.parametrize("version", ["2.51.0", "2.58.0"])
def test_before_the_flag_the_limit_is_for_the_whole_body(
    servers: dict[str, Emulator], version: TritonVersion, size: int
) -> None:
    refused = (400, f"request size exceeds the maximum allowed input size of {LIMIT} bytes. {ADVICE}")
    assert ask(servers[version], IDENTITY, padded(size)) == ((200, "") if size == LIMIT else refused)


@pytest.mark.parametrize(
    "version, text",
    [
        ("2.59.0", ""),
        (
            "2.62.0",
            f"Request JSON size of 201 bytes exceeds the maximum allowed value of 200 bytes. {ADVICE}",
        ),
        (
            "2.65.0",
            f"Request JSON size of 201 bytes exceeds the maximum allowed value of 200 bytes. {ADVICE}",
        ),
        (
            "2.68.0",
            f"request JSON size of 201 bytes exceeds the maximum allowed input size of 200 bytes. {ADVICE}",
        ),
        (
            "2.72.0",
            f"request JSON size of 201 bytes exceeds the maximum allowed input size of 200 bytes. {ADVICE}",
        ),
    ],
)
def test_json_is_limited_from_2_62_on(
    servers: dict[str, Emulator], version: TritonVersion, text: str
) -> None:
    triton = servers[version]
    assert ask(triton, IDENTITY, padded(LIMIT)) == (200, "")
    assert ask(triton, IDENTITY, padded(LIMIT + 1)) == ((400, text) if text else (200, ""))
    length = {"Inference-Header-Content-Length": str(LIMIT + 1)}
    assert ask(triton, IDENTITY, padded(LIMIT + 1), length) == ((400, text) if text else (200, ""))


@pytest.mark.parametrize("version", ["2.59.0", "2.72.0"])
def test_an_input_is_limited_from_2_59_on(servers: dict[str, Emulator], version: TritonVersion) -> None:
    triton, most = servers[version], LIMIT // 4
    assert ask(triton, IDENTITY, numbers(most)) == (200, "")
    status, text = ask(triton, IDENTITY, numbers(1, most + 1))
    assert (status, text) == (
        400,
        "JSON input 'INPUT0'" + BYTE_SIZE.format(204, LIMIT),
    )


@pytest.mark.parametrize("version", ["2.59.0", "2.72.0"])
def test_strings_count_with_their_lengths(servers: dict[str, Emulator], version: TritonVersion) -> None:
    def strings(count: int) -> bytes:
        return b'{"inputs":[{"name":"INPUT0","datatype":"BYTES","shape":[1,%d],"data":[%b]}]}' % (
            count,
            b",".join([b'""'] * count),
        )

    # each empty string has four bytes of its length, and takes three of the JSON, so this one has a larger limit
    with Emulator(triton_version=version, http_max_input_size=1000, allow_grpc=False) as triton:
        assert ask(triton, STRINGS, strings(250)) == (200, "")
        assert ask(triton, STRINGS, strings(251)) == (
            400,
            "JSON input 'INPUT0'" + BYTE_SIZE.format(1004, 1000),
        )


@pytest.mark.parametrize("version", ["2.59.0", "2.62.0", "2.72.0"])
def test_a_raw_binary_body_is_limited_and_a_tensor_after_the_json_is_not(
    servers: dict[str, Emulator], version: TritonVersion
) -> None:
    raw = {"Inference-Header-Content-Length": "0"}
    assert ask(servers[version], IDENTITY, bytes(LIMIT), raw) == (200, "")
    assert ask(servers[version], IDENTITY, bytes(LIMIT + 4), raw) == (
        400,
        "Raw input" + BYTE_SIZE.format(204, LIMIT),
    )
    header = b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[100],"parameters":{"binary_data_size":400}}]}'
    length = {"Inference-Header-Content-Length": str(len(header))}
    assert ask(servers[version], IDENTITY, header + bytes(400), length) == (200, "")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_body_is_limited_from_2_65_on(servers: dict[str, Emulator], coding: str) -> None:
    headers = {"Content-Encoding": coding}
    for version in ("2.65.0", "2.72.0"):
        assert ask(servers[version], IDENTITY, gzip.compress(padded(LIMIT)), headers) == (200, "")
        assert ask(servers[version], IDENTITY, gzip.compress(padded(LIMIT + 1)), headers) == (
            400,
            f"Decompressed data size exceeds the maximum allowed value of 200 bytes. {ADVICE}",
        )
    assert ask(servers["2.59.0"], IDENTITY, gzip.compress(padded(LIMIT + 1)), headers) == (200, "")


@pytest.mark.parametrize("version", ["2.62.0", "2.68.0", "2.72.0"])
def test_the_inputs_of_generate_are_limited_together_from_2_68_on(version: TritonVersion) -> None:
    sixteen = ",".join("1" * 16)
    together = f'{{"INPUT0":[{sixteen}],"INPUT1":[{sixteen}]}}'.encode()
    apart = f'{{"INPUT0":[{sixteen}],"parameters":{{"INPUT1":[{sixteen}]}}}}'.encode()
    with Emulator(triton_version=version, http_max_input_size=127, allow_grpc=False) as triton:
        found = ask(triton, "/v2/models/simple/generate", together)
        assert ask(triton, "/v2/models/simple/generate", apart) == (200, "")
    exceeds = "exceeds the maximum allowed input size of 127."
    text = f"request size of 64 bytes with input 'INPUT1' of size 64 bytes {exceeds} {ADVICE}"
    assert found == ((200, "") if version == "2.62.0" else (400, text))


@pytest.mark.parametrize(
    "path", ["/v2/repository/index", "/v2/logging", "/v2/models/identity_fp32/generate", "/v2/trace/setting"]
)
def test_the_json_of_other_routes_is_limited_too(servers: dict[str, Emulator], path: str) -> None:
    status, text = ask(servers["2.72.0"], path, b"{}".ljust(LIMIT + 1))
    assert (status, text.partition(" exceeds")[0]) == (400, "request JSON size of 201 bytes")


@pytest.mark.parametrize(
    "path, status",
    [("/v2/models/nope/infer", 404), ("/v2/models/nope/generate", 404), ("/v2/models/identity_fp32", 405)],
)
def test_what_is_refused_for_more_is_not_refused_for_its_size(
    servers: dict[str, Emulator], path: str, status: int
) -> None:
    assert ask(servers["2.72.0"], path, b"{}".ljust(LIMIT + 1))[0] == status


def test_a_body_that_comes_in_many_reads_is_answered_as_one_that_comes_at_once(
    servers: dict[str, Emulator],
) -> None:
    size = 1_000_000
    assert ask(servers["2.72.0"], IDENTITY, padded(size)) == (
        400,
        f"request JSON size of 1000000 bytes exceeds the maximum allowed input size of 200 bytes. {ADVICE}",
    )
    assert ask(servers["2.72.0"], IDENTITY, bytes(size), {"Inference-Header-Content-Length": "0"}) == (
        400,
        "Raw input" + BYTE_SIZE.format(1_000_000, LIMIT),
    )
    assert ask(servers["2.72.0"], IDENTITY, padded(size), {"Inference-Header-Content-Length": "999999"}) == (
        400,
        f"request JSON size of 999999 bytes exceeds the maximum allowed input size of 200 bytes. {ADVICE}",
    )
    header = (
        b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}'
    )
    length = {"Inference-Header-Content-Length": str(len(header))}
    assert ask(servers["2.72.0"], IDENTITY, header + bytes(size), length) == (
        400,
        "unexpected additional input data for model 'identity_fp32'",
    )


def test_an_option_of_0_is_no_limit() -> None:
    with Emulator(triton_version="2.72.0", http_max_input_size=0, allow_grpc=False) as triton:
        assert ask(triton, IDENTITY, padded((64 << 20) + 1)) == (200, "")
