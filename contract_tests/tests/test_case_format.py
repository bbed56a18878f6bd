"""The case format: the contents of a case file, the bytes that are sent for it, and how errors are reported."""

from pathlib import Path

import pytest

from triton_contract.cases.case import Case, Step
from triton_contract.cases.encoding import request_bytes, request_pieces
from triton_contract.cases.load import MODELS, CaseError, load_cases, load_file
from triton_contract.cases.operations import OPERATIONS, operation_of
from triton_contract.cases.rpc import Rpc
from triton_contract.comparing.normalise import BY_OPERATION, NORMALISERS

SERVICE_METHODS = {
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "ModelStreamInfer",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
    "LogSettings",
}


def cases_of(folder: Path, text: str, name: str = "topic.yaml") -> list[Case]:
    path = folder / name
    path.write_text(text)
    return load_file(path)


def sent(**fields: object) -> bytes:
    return request_bytes(Step.model_validate({"path": "/p", **fields}))


# --- bytes ---


def test_a_path_alone_is_a_get_with_a_host() -> None:
    assert sent() == b"GET /p HTTP/1.1\r\nHost: triton\r\n\r\n"


def test_json_is_posted_compactly_in_the_order_written() -> None:
    assert sent(json={"b": [1, 2.5], "a": "é"}) == (
        b'POST /p HTTP/1.1\r\nHost: triton\r\nContent-Length: 22\r\n\r\n{"b":[1,2.5],"a":"\xc3\xa9"}'
    )


def test_json_null_is_a_body() -> None:
    assert sent(json=None).endswith(b"Content-Length: 4\r\n\r\nnull")


def test_a_post_without_a_body_says_length_zero() -> None:
    assert sent(method="POST") == b"POST /p HTTP/1.1\r\nHost: triton\r\nContent-Length: 0\r\n\r\n"


def test_headers_keep_order_spelling_and_repetition() -> None:
    headers = [["x-A", "1"], ["X-b", "2"], ["x-A", "3"]]
    assert sent(headers=headers) == b"GET /p HTTP/1.1\r\nHost: triton\r\nx-A: 1\r\nX-b: 2\r\nx-A: 3\r\n\r\n"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"host": False}, b"GET /p HTTP/1.1\r\n\r\n"),
        ({"headers": {"HOST": "me"}}, b"GET /p HTTP/1.1\r\nHOST: me\r\n\r\n"),
        ({"text": "x", "content_length": False}, b"POST /p HTTP/1.1\r\nHost: triton\r\n\r\nx"),
        (
            {"text": "x", "headers": {"content-length": "9"}},
            b"POST /p HTTP/1.1\r\nHost: triton\r\ncontent-length: 9\r\n\r\nx",
        ),
        ({"http_version": "1.0"}, b"GET /p HTTP/1.0\r\nHost: triton\r\n\r\n"),
    ],
    ids=["no host", "another host", "no length", "a false length", "an older version"],
)
def test_what_is_added_can_be_turned_off_or_replaced(fields: dict[str, object], expected: bytes) -> None:
    assert sent(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"text": "é"}, b"\xc3\xa9"),
        ({"hex": "00 ff"}, b"\x00\xff"),
        ({"base64": "AP8="}, b"\x00\xff"),
        ({"join": [{"text": "ab", "repeat": 2}, {"json": [1]}, {"hex": "00"}]}, b"abab[1]\x00"),
    ],
    ids=["text", "hex", "base64", "joined"],
)
def test_a_body_becomes_bytes(fields: dict[str, object], body: bytes) -> None:
    assert sent(**fields).partition(b"\r\n\r\n")[2] == body


def test_chunks_are_cut_where_the_author_says() -> None:
    assert sent(text="abcdef", chunked=[1, 3]).partition(b"\r\n\r\n")[2] == (
        b"1\r\na\r\n3\r\nbcd\r\n2\r\nef\r\n0\r\n\r\n"
    )


def test_binary_tensors_follow_the_header_whose_length_is_sent() -> None:
    infer = {
        "header": {"inputs": []},
        "binary": [{"int16": [1, -1]}, {"string": ["a", "bc"]}, {"bool": [True]}, {"fp32": [1.0]}],
    }
    head, _, body = sent(infer=infer).partition(b"\r\n\r\n")
    assert b"Inference-Header-Content-Length: 13" in head.split(b"\r\n")
    assert body == (b'{"inputs":[]}\x01\x00\xff\xff\x01\x00\x00\x00a\x02\x00\x00\x00bc\x01\x00\x00\x80\x3f')


@pytest.mark.parametrize(
    ("length", "line"),
    [
        ("abc", b"Inference-Header-Content-Length: abc"),
        (-1, b"Inference-Header-Content-Length: -1"),
        (None, None),
    ],
    ids=["no number", "negative", "none"],
)
def test_the_header_length_can_be_wrong(length: object, line: bytes | None) -> None:
    head = sent(infer={"header": {}, "header_length": length}).partition(b"\r\n\r\n")[0]
    assert [each for each in head.split(b"\r\n") if each.startswith(b"Inference")] == ([line] if line else [])


def test_a_step_that_names_no_timeout_is_waited_for_until_it_must_be_a_hang() -> None:
    assert Step.model_validate({"path": "/p"}).patience == 60
    assert Step.model_validate({"path": "/p", "timeout": 10}).patience == 10


def test_raw_bytes_go_out_as_they_are() -> None:
    assert request_bytes(Step.model_validate({"raw": "GET /\n"})) == b"GET /\n"
    assert request_bytes(Step.model_validate({"raw_hex": "16 03 01"})) == b"\x16\x03\x01"


def test_head_and_body_can_be_sent_apart() -> None:
    step = Step.model_validate({"path": "/p", "text": "ab\r\n\r\ncd", "apart": True})
    assert request_pieces(step) == [
        b"POST /p HTTP/1.1\r\nHost: triton\r\nContent-Length: 8\r\n\r\n",
        b"ab\r\n\r\ncd",
    ]


# --- files ---


def test_defaults_hold_for_every_case_and_give_way_to_its_own_fields(tmp_path: Path) -> None:
    first, second = cases_of(
        tmp_path,
        """
repository: http
defaults: {method: POST, path: /a}
cases:
  - {id: a/one}
  - {id: a/two, path: /b, flags: [--x]}
""",
    )
    assert [step.path for case in (first, second) for step in case.steps] == ["/a", "/b"]
    assert (first.group, second.group) == (("http", ()), ("http", ("--x",)))
    assert first.topic == "topic"


def test_a_table_makes_a_case_per_row_and_keeps_types(tmp_path: Path) -> None:
    first, second = cases_of(
        tmp_path,
        """
repository: http
tables:
  - id: t/$name
    path: /models/$name
    json: {data: $data, text: "<$data>"}
    columns: [name, data]
    rows: [[a, [1, 2]], [b, null]]
""",
    )
    assert (first.id, first.steps[0].path, first.steps[0].json_) == (
        "t/a",
        "/models/a",
        {"data": [1, 2], "text": "<[1, 2]>"},
    )
    assert second.steps[0].json_ == {"data": None, "text": "<None>"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "cases: [{id: a/b, path: /, repository: http, colour: red}]",
            "topic.yaml:1: case a/b: unknown field colour",
        ),
        ("cases: [{path: /}]", "topic.yaml:1: every case and table is a mapping with an id"),
        ("cases: [{id: a/b, path: /}]", "topic.yaml:1: case a/b: field repository: Field required"),
        ("cases: [{id: A, path: /, repository: http}]", "topic.yaml:1: case A: field id: "),
        (
            "cases: [{id: a/b, path: /, repository: http, text: x, hex: '00'}]",
            "topic.yaml:1: case a/b: field steps.0: Value error, a request has one body, not text and hex",
        ),
        (
            "cases: [{id: a/b, repository: http, steps: [{method: GET}]}]",
            "topic.yaml:1: case a/b: field steps.0: Value error, a step is exactly one of: path",
        ),
        (
            "cases: [{id: a/b, repository: http, path: /, steps: [{path: /}]}]",
            "topic.yaml:1: case a/b: path next to steps; put it into a step",
        ),
        (
            "cases: [{id: a/b, repository: http, path: /, infer: {header: {}, binary: [{int32: [1], hex: '00'}]}}]",
            "topic.yaml:1: case a/b: field steps.0.infer.binary.0: Value error, a binary tensor is exactly one of",
        ),
        (
            "cases: [{id: a/b, repository: http, path: /, headers: {A: no}}]",
            "topic.yaml:1: case a/b: field steps.0.headers: Value error, YAML takes a bare yes, no",
        ),
        (
            "cases:\n- {id: a/b, path: /, repository: http}\n- id: a/c\n  pth: /\n  repository: http",
            "topic.yaml:3: case a/c: unknown field pth: did you mean path?",
        ),
        (
            "repository: http\ntables:\n- {id: 't/$x', path: /, columns: [x], rows: [[A]]}\n- {id: 5}",
            "topic.yaml: every case and table is a mapping with an id; found",
        ),
        (
            "repository: http\ncases:\n- {id: a/b, path: /}\n- nothing",
            "topic.yaml:4: every case and table is a mapping",
        ),
        ("cases:\n- {id: a/b, path: [}", "topic.yaml:2: not YAML: "),
        ("cases: text", "topic.yaml: every case and table is a mapping with an id"),
        ("casess: []", "topic.yaml: a case file is a mapping of cases, defaults, flags, repository, tables"),
        ("cases:\n- {id: a/b, path: /, path: /b}", "topic.yaml:2: key 'path' is written twice"),
        (
            "tables: [{id: 't/$x', path: /, repository: http, columns: [x, y], rows: [[1, 2]]}]",
            "topic.yaml:1: table t/$x: row 1: no placeholder for y",
        ),
        (
            "tables: [{id: 't/$x', path: /$z, repository: http, columns: [x], rows: [[1]]}]",
            "topic.yaml:1: table t/$x: row 1: unknown or broken placeholder 'z'",
        ),
        (
            "tables: [{id: 't/$x', path: /, repository: http, columns: [x], rows: [[1, 2]]}]",
            "topic.yaml:1: table t/$x: row 1 does not fit its columns",
        ),
    ],
)
def test_a_mistake_names_file_line_case_and_field(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CaseError) as caught:
        cases_of(tmp_path, text)
    assert str(caught.value).startswith(message)


def test_an_id_may_be_used_once_only(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("cases: [{id: a/b, path: /, repository: http}]")
    with pytest.raises(CaseError, match=r"two.yaml: case a/b: id is already used in one.yaml"):
        load_cases(tmp_path)


# --- operations ---


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/v2", "server metadata"),
        ("/v2?x=1", "server metadata"),
        ("/v2/health/live", "health"),
        ("/v2/models/m", "model metadata"),
        ("/v2/models/m/versions/3/ready", "model ready"),
        ("/v2/models/m/config", "model config"),
        ("/v2/models/stats", "statistics"),
        ("/v2/models/m/versions/1/stats", "statistics"),
        ("/v2/models/m/infer", "infer"),
        ("/v2/models/m/generate", "generate"),
        ("/v2/models/m/generate_stream", "generate_stream"),
        ("/v2/models/m/trace/setting", "trace"),
        ("/v2/repository/index", "repository index"),
        ("/v2/repository/models/m/load", "model load"),
        ("/v2/repository/models/m/unload", "model unload"),
        ("/v2/logging", "logging"),
        ("/v2/systemsharedmemory/region/r/register", "system shared memory"),
        ("/v2/cudasharedmemory/status", "cuda shared memory"),
        ("/v2/models/", "routing"),
        ("/", "routing"),
    ],
)
def test_the_operation_follows_from_the_path(path: str, operation: str) -> None:
    case = Case.model_validate({"id": "a/b", "repository": "r", "steps": [{"path": path}]})
    assert operation_of(case) == operation


# --- the package's own cases ---


def is_operation(name: str) -> bool:
    """Whether this is an HTTP operation of the table, or a gRPC method."""
    return name in OPERATIONS or name.startswith("grpc/")


def test_our_cases_are_sound() -> None:
    for case in load_cases():
        assert (MODELS / case.repository).is_dir(), case.id
        assert is_operation(operation_of(case)), case.id
        assert set(case.normalise) <= set(NORMALISERS), case.id
        for step in case.steps:
            if isinstance(step, Rpc):
                step.payloads()
            elif step.path is not None:
                request_bytes(step)


def test_a_case_that_counts_queued_requests_has_a_server_with_one_http_thread() -> None:
    # 2.51 counts a request a moment before it queues it; only the same thread reads the next one after that moment.
    counting = [case for case in load_cases() if any(step.pending for step in case.steps)]
    assert counting
    assert [case.id for case in counting if "--http-thread-count=1" not in case.flags] == []


def test_every_operation_has_cases() -> None:
    found = {operation_of(case) for case in load_cases()}
    assert found >= set(OPERATIONS)
    methods = SERVICE_METHODS | {"Check"}
    assert {name.removeprefix("grpc/") for name in found if name.startswith("grpc/")} >= methods


def test_normalisers_of_operations_exist() -> None:
    assert all(is_operation(name) for name in BY_OPERATION)
    assert {name for names in BY_OPERATION.values() for name in names} <= set(NORMALISERS)
