"""The fuzzer: its generated requests, how it minimises and prints a disagreement, and a small campaign on servers."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract_tests.tests.dying_relay import dying_relay
from contract_tests.tests.literal_server import literal_server
from triton_contract.cases.encoding import HEADER_LENGTH, request_bytes
from triton_contract.cases.load import MODELS, load_file
from triton_contract.cli import main
from triton_contract.clients.http import Address, read_exchange
from triton_contract.comparing.compare import Outcome
from triton_contract.fuzz.agreement import Agreement, KnownToCrash, kind_of, shape_of
from triton_contract.fuzz.campaign import explore
from triton_contract.fuzz.command import show
from triton_contract.fuzz.configs import config_loads, faults_in
from triton_contract.fuzz.infer import infer_requests
from triton_contract.fuzz.memory import is_light
from triton_contract.fuzz.model import Input, Model, model_of, read_models
from triton_contract.fuzz.mutations import mutated
from triton_contract.fuzz.openapi import document
from triton_contract.fuzz.options import OPERATIONS
from triton_contract.fuzz.request import Request, case_of, yaml_of
from triton_contract.fuzz.strategies import described_requests, requests_of
from triton_contract.reference.pytest_support import in_ci
from triton_contract.running.pair import Pair
from triton_contract.running.sides import LiveSide
from triton_contract.targets import EmulatorTarget, TargetUnavailable, TritonTarget, UrlTarget

GREEN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
RED = b'HTTP/1.1 400 Bad Request\r\nContent-Length: 13\r\n\r\n{"error":"1"}'
TWO = Model(
    "two",
    (Input("INPUT0", "INT32", (-1, 4)), Input("TEXT", "BYTES", (-1, -1), optional=True)),
    (("OUTPUT0", "INT32"),),
    max_batch_size=8,
)
SMALL = settings(
    max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


# --- requests and their cases ------------------------------------------------------------------------------------


def test_a_model_is_made_of_its_metadata_and_config() -> None:
    metadata = {
        "name": "m",
        "versions": ["3"],
        "inputs": [{"name": "A", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "B", "datatype": "BYTES", "shape": [-1, 1]}],
    }
    config = {
        "max_batch_size": 8,
        "input": [{"name": "A", "optional": True}],
        "model_transaction_policy": {"decoupled": True},
    }
    assert model_of(metadata, config) == Model(
        "m", (Input("A", "FP32", (-1, 4), True),), (("B", "BYTES"),), 8, True, ("3",)
    )


@pytest.mark.parametrize(
    "request_,step",
    [
        pytest.param(
            Request("POST", "/v2/models/m/infer", b'{"inputs":[1,2.5]}'),
            {"method": "POST", "path": "/v2/models/m/infer", "json": {"inputs": [1, 2.5]}},
            id="compact JSON is written as YAML",
        ),
        pytest.param(
            Request("POST", "/p", b'{"a":1,"a":2}'),
            {"method": "POST", "path": "/p", "text": '{"a":1,"a":2}'},
            id="JSON that YAML cannot say is a text",
        ),
        pytest.param(
            Request("POST", "/p", b'{"a":1e5}'),
            {"method": "POST", "path": "/p", "text": '{"a":1e5}'},
            id="a number spelled in a way of its own is a text",
        ),
        pytest.param(
            Request("POST", "/p", b"\xff\x00"),
            {"method": "POST", "path": "/p", "hex": "ff00"},
            id="bytes that are no text are hexadecimal",
        ),
        pytest.param(
            Request("POST", "/p", b'{"a":1}\x01\x02', ((HEADER_LENGTH, "7"),)),
            {"method": "POST", "path": "/p", "infer": {"header": {"a": 1}, "binary": [{"hex": "0102"}]}},
            id="a binary body is header and blobs",
        ),
        pytest.param(
            Request("POST", "/p", b'{"a":1}\x01\x02', ((HEADER_LENGTH, "700"),)),
            {"method": "POST", "path": "/p", "headers": {HEADER_LENGTH: "700"}, "text": '{"a":1}\x01\x02'},
            id="a wrong header length is a header",
        ),
        pytest.param(Request("GET", "/p"), {"method": "GET", "path": "/p"}, id="no body is none"),
    ],
)
def test_a_request_is_printed_in_the_most_readable_form(request_: Request, step: dict[str, object]) -> None:
    (node,) = yaml.safe_load(yaml_of(request_, "http"))
    assert step == {name: value for name, value in node.items() if name not in ("id", "repository")}


headers = st.lists(
    st.tuples(st.sampled_from(["A", "B", HEADER_LENGTH]), st.sampled_from(["1", "x y", "on"])), max_size=3
)


@SMALL
@given(
    body=st.one_of(
        st.binary(max_size=40), mutated(b'{"inputs":[{"name":"A\xc3\xa9","data":[1,2.5]}],"id":"x"}')
    ),
    headers=headers,
    after=st.booleans(),
)
def test_a_printed_case_read_again_sends_the_same_bytes(
    body: bytes, headers: list[tuple[str, str]], after: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    follow = (Request("GET", "/v2/logging"),) if after else ()
    made = Request("POST", "/v2/models/m/infer", body, tuple(headers), follow)
    printed = yaml_of(made, "http", note="found by hand")
    path = tmp_path_factory.mktemp("cases") / "pasted.yaml"
    path.write_text("cases:\n" + "".join(f"  {line}\n" for line in printed.splitlines()))
    (read,) = load_file(path)
    sent = case_of(made, "http")
    assert [request_bytes(step) for step in read.steps] == [request_bytes(step) for step in sent.steps]
    assert request_bytes(sent.steps[0]).endswith(b"\r\n\r\n" + body)


@SMALL
@given(made=infer_requests([TWO]))
def test_an_infer_request_is_always_a_post_to_its_model(made: Request) -> None:
    assert made.method == "POST"
    assert re.fullmatch(r"/v2/models/two(/versions/\d)?/infer", made.path)


def test_some_infer_requests_are_valid() -> None:
    seen: list[bool] = []

    @SMALL
    @given(made=infer_requests([TWO]))
    def collect(made: Request) -> None:
        try:
            inputs = json.loads(made.body)["inputs"]
            seen.append([tensor["datatype"] for tensor in inputs][:1] == ["INT32"])
        except (ValueError, KeyError, TypeError):
            seen.append(False)

    collect()
    assert 5 <= sum(seen) < len(seen)


@pytest.mark.parametrize(
    "body,light",
    [
        pytest.param(b'{"inputs":[{"shape":[1000,1000],"data":[]}]}', True, id="a million elements"),
        pytest.param(b'{"inputs":[{"shape":[1000,1001],"data":[]}]}', False, id="more than a million"),
        pytest.param(b'{"inputs":[{"shape":[1001,1000]}]}', True, id="no data, so nothing is reserved"),
        pytest.param(
            b'{"inputs":[{"shape":[2147483648],"shape":[1],"data":[]}]}', False, id="one of two shapes"
        ),
        pytest.param(
            b'{"inputs":[{"shape":[1001000],"data":[Inf]}]}', False, id="JSON that only Triton reads"
        ),
        pytest.param(b'{"inputs":[{"shape":[0,1001000],"data":[]}]}', True, id="no element at all"),
        pytest.param(b'{"inputs":[{"shape":[2],"data":[1]}]}\xff\x00', True, id="binary data after it"),
        pytest.param(b"", True, id="nothing"),
    ],
)
def test_what_would_take_the_machines_memory_is_not_sent(body: bytes, light: bool) -> None:
    assert light == is_light(Request("POST", "/v2/models/m/infer", body))


# --- agreement on servers of literal bytes -----------------------------------------------------------------------


def pair_of(left: Address, right: Address) -> Pair:
    left_side, right_side = (LiveSide(UrlTarget(f"http://127.0.0.1:{each.port}")) for each in (left, right))
    pair = Pair(left_side, right_side)
    pair.begin("http", ())
    return pair


@pytest.fixture
def differing() -> Iterator[Agreement]:
    with literal_server(GREEN, GREEN) as left, literal_server(RED, GREEN) as right:
        pair = pair_of(left, right)
        yield Agreement(pair, "http")
        pair.end()


def test_servers_that_answer_alike_agree() -> None:
    with literal_server(GREEN, GREEN) as left, literal_server(GREEN, GREEN) as right:
        agreement = Agreement(pair := pair_of(left, right), "http")
        report = explore(
            agreement, st.builds(Request, st.just("GET"), st.sampled_from(["/v2", "/v2/a"])), examples=5
        )
        pair.end()
    assert (report.found, report.again, report.unstable) == ([], {}, [])
    assert agreement.tally.total() == report.asked > 0


def test_a_disagreement_is_made_as_small_as_can_be(differing: Agreement) -> None:
    bodies = st.binary(min_size=0, max_size=30)
    report = explore(
        differing, st.builds(Request, st.just("POST"), st.just("/v2/models/m/infer"), bodies), examples=10
    )
    (found,) = report.found
    assert found.request == Request("POST", "/v2/models/m/infer", b"")
    assert report.again == {found.kind: report.asked}
    assert report.asked == 10


def test_a_disagreement_is_printed_as_a_case_with_what_differs(
    differing: Agreement, capsys: pytest.CaptureFixture[str]
) -> None:
    report = explore(differing, st.just(Request("POST", "/v2/models/m/infer", b'{"id":"1"}')), examples=1)
    show(differing, [report])
    printed = capsys.readouterr().out
    comments, case = re.match(r"((?:#.*\n)+)((?:[- ].*\n)+)", printed).groups()  # type: ignore[union-attr]
    assert comments == (
        "# status: expected HTTP/1.1 200 OK\n"
        "# got      HTTP/1.1 400 Bad Request\n"
        "# body: at byte 1\n"
        "# expected {}\n"
        '# got      {"error":"1"}\n'
        "# met 1 times\n"
    )
    (node,) = yaml.safe_load(case)
    assert re.fullmatch(r"infer/fuzzed/[0-9a-f]{8}", node.pop("id"))
    assert node == {
        "repository": "http",
        "method": "POST",
        "path": "/v2/models/m/infer",
        "json": {"id": "1"},
    }
    assert "1 kinds of disagreement" in printed


def test_a_kind_that_was_found_is_counted_and_does_not_stop_the_campaign(differing: Agreement) -> None:
    paths = st.integers(0, 10**6).map(lambda number: f"/v2/x{number}")
    report = explore(differing, st.builds(Request, st.just("GET"), paths), examples=8)
    assert len(report.found) == len(report.again)
    assert report.asked == 8


def test_requests_of_a_shape_that_killed_the_reference_are_not_sent_again() -> None:
    made = Request("POST", "/v2/models/m/infer", b'{"inputs":[1]}')
    with literal_server(GREEN, GREEN) as left, literal_server(GREEN, GREEN) as right:
        agreement = Agreement(pair := pair_of(left, right), "http")
        agreement.crashes[shape_of(made)] = (made, "killed by SIGSEGV")
        with pytest.raises(KnownToCrash):
            agreement.ask(Request("POST", "/v2/models/m/infer", b'{"inputs":[2, 3]}'))
        agreement.ask(Request("POST", "/v2/models/m/infer", b'{"inputs":["x"]}'))
        pair.end()
    assert agreement.left_out == 1
    assert agreement.tally.total() == 1


def test_a_server_that_does_not_answer_disagrees_with_one_that_does() -> None:
    with literal_server(GREEN, GREEN) as left:
        with literal_server(GREEN, GREEN) as right:
            pair = pair_of(left, right)
        result = pair.run(case_of(Request("GET", "/v2"), "http"))
        pair.end()
    assert result.outcome is Outcome.DIFFERENT


def test_a_server_that_is_lost_ends_the_campaign_and_what_was_asked_is_told() -> None:
    emulator = EmulatorTarget()
    emulator.start(MODELS / "http", ())
    try:
        with dying_relay(emulator.http, 300, emulator.stop) as address:
            words = ["fuzz", "--target", address.url, "--reference", "emulator", "--operation", "routes"]
            result = CliRunner().invoke(main, words)
    finally:
        emulator.stop()
    assert result.exit_code == 3
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"triton-contract: target {address.url} was lost at ")
    found = re.search(r"^(\d+) requests made, 0 more .* 0 kinds of disagreement", result.stdout, re.MULTILINE)
    assert found is not None
    assert 0 < int(found[1]) < 300


def test_the_kind_of_a_disagreement_leaves_out_names_and_numbers(differing: Agreement) -> None:
    first, second = (Request("GET", f"/v2/{name}") for name in "ab")
    assert kind_of(first, differing.ask(first)) == kind_of(second, differing.ask(second))


# --- the OpenAPI document ----------------------------------------------------------------------------------------


def test_every_reference_in_the_openapi_document_resolves() -> None:
    text = json.dumps(described := document())
    for pointer in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        node = described
        for part in pointer.split("/"):
            node = node[part]


def test_every_operation_of_the_openapi_document_has_an_id_of_its_own() -> None:
    ids = [
        operation["operationId"]
        for path in document()["paths"].values()
        for name, operation in path.items()
        if name in ("get", "post")
    ]
    assert len(ids) == len(set(ids)) > 30


def test_the_fuzz_command_teaches() -> None:
    result = CliRunner().invoke(main, ["fuzz", "--help"])
    assert result.exit_code == 0
    assert "triton-contract fuzz --schemathesis" in result.output


# --- a small campaign on the real server and the emulator --------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Iterator[tuple[Agreement, list[Model], Address]]:
    truth = LiveSide(TritonTarget())
    pair = Pair(truth, LiveSide(EmulatorTarget()))
    try:
        pair.begin("small", ())
    except TargetUnavailable as unavailable:
        if in_ci():
            pytest.fail(str(unavailable), pytrace=False)
        pytest.skip(str(unavailable))
    try:
        http = truth.target.http
        yield Agreement(pair, "small"), read_models(http), http
    finally:
        pair.end()


Real = tuple[Agreement, list[Model], Address]


@pytest.mark.proof
@pytest.mark.parametrize("operation", OPERATIONS)
def test_emulator_and_triton_agree_on_generated_requests(operation: str, real: Real) -> None:
    agreement, models, _ = real
    report = explore(agreement, requests_of(operation, models), examples=60, start=20260)
    shown = "\n\n".join(f"{found}\n{yaml_of(found.request, 'small')}" for found in report.found)
    assert not report.again, f"\n{shown}\n{report.unstable}"
    assert report.asked == 60


@pytest.mark.proof
def test_emulator_and_triton_agree_on_what_schemathesis_makes_of_the_openapi_document(real: Real) -> None:
    agreement, models, _ = real
    report = explore(agreement, described_requests(models), examples=25, start=20260)
    shown = "\n\n".join(f"{found}\n{yaml_of(found.request, 'small')}" for found in report.found)
    assert not report.again, f"\n{shown}\n{report.unstable}"


DESCRIBED = [
    (method.upper(), path, operation)
    for path, methods in document()["paths"].items()
    for method, operation in methods.items()
    if method in ("get", "post")
]
NAMES = {"{model_name}": "two", "{model_version}": "1", "{region}": "r", "{repository_name}": "x"}


@pytest.mark.proof
@pytest.mark.parametrize(
    "method,path,operation", DESCRIBED, ids=[f"{method} {path}" for method, path, _ in DESCRIBED]
)
def test_the_real_server_answers_as_the_openapi_document_says(
    method: str, path: str, operation: dict[str, Any], real: Real
) -> None:
    path = re.sub(r"\{\w+\}", lambda found: NAMES[found[0]], path)
    wire = real[2].connect()
    wire.send(f"{method} {path} HTTP/1.1\r\nHost: triton\r\nContent-Length: 0\r\n\r\n".encode())
    response = read_exchange(wire, 5.0).response
    wire.close()
    assert response is not None
    if response.status != 200:
        assert response.status != 405
        assert list(told := json.loads(response.body)) == ["error"]
        assert told["error"] != "Not Found"
        return
    described = operation["responses"]["200"]
    if "$ref" in described:
        assert response.body == b""
        return
    schema = described["content"]["application/json"]["schema"]
    jsonschema.validate(json.loads(response.body), {**document(), **schema})


# --- texts of config.pbtxt ---------------------------------------------------------------------------------------


def test_the_faults_of_a_text_are_found_in_the_logs_of_both_servers() -> None:
    real = (
        "[libprotobuf ERROR /src/google/protobuf/text_format.cc:337] Error parsing text-format inference.ModelConfig: "
        '1:4: Message type "inference.ModelConfig" has no field named "foo".\n'
        "E1129 13:46:38.189631 22670 model_repository_manager.cc:1460] \"Poll failed for model directory 'm'\"\n"
    )
    emulator = (
        'E1129 13:46:38.189631 1 folder_reader.py:90] "Error parsing text-format inference.ModelConfig: '
        '1:4: Message type \\"inference.ModelConfig\\" has no field named \\"foo\\"."\n'
        "E1129 13:46:38.189631 1 folder_reader.py:112] \"Poll failed for model directory 'm'\"\n"
    )
    fault = '1:4: Message type "inference.ModelConfig" has no field named "foo".'
    assert faults_in(real.encode()) == faults_in(emulator.encode()) == [fault]


@SMALL
@given(request=config_loads())
def test_a_load_of_a_text_reads_the_config_and_unloads_the_model(request: Request) -> None:
    assert request.config is not None
    assert [each.path for each in (request, *request.after)] == [
        "/v2/repository/models/m/load",
        "/v2/models/m/config",
        "/v2/repository/models/m/unload",
    ]
    assert shape_of(request) == repr(request.config)


def test_texts_of_configs_are_asked_alone() -> None:
    result = CliRunner().invoke(main, ["fuzz", "--operation", "configs", "--operation", "infer"])
    assert result.exit_code == 2
    assert "--operation configs stands alone: it has a repository of its own" in result.output


def test_emulator_and_triton_agree_on_some_texts_of_configs() -> None:
    result = CliRunner().invoke(main, ["fuzz", "--operation", "configs", "--examples", "40"])
    if "no real tritonserver" in result.output and not in_ci():
        pytest.skip("no real tritonserver")
    assert result.exit_code == 0, result.output
    assert "40 requests made" in result.output
