"""The public names: all of them exist and are imported on first use. They suffice to run cases and read the ledger."""

import os
import signal
import subprocess
import sys

import pytest

import triton_contract
from contract_tests.tests.literal_server import literal_server
from triton_contract import (
    Case,
    EmulatorTarget,
    Outcome,
    Ports,
    TargetUnavailable,
    TritonServer,
    TritonTarget,
    UrlTarget,
    load_cases,
    render_ledger,
    require_reference,
    run_cases,
)
from triton_contract.cases.load import MODELS
from triton_contract.running.pair import Pair
from triton_contract.running.sides import LiveSide, RecordedSide

SMALL = MODELS / "small"


def emulator() -> EmulatorTarget:
    try:
        return EmulatorTarget()
    except TargetUnavailable as unavailable:
        pytest.skip(str(unavailable))


def test_the_names_are_sorted_few_and_there() -> None:
    assert triton_contract.__all__ == sorted(triton_contract.__all__)
    assert len(triton_contract.__all__) <= 20
    for name in triton_contract.__all__:
        assert getattr(triton_contract, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'triton_contract' has no attribute 'nope'"):
        triton_contract.nope  # noqa: B018


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import sys, triton_contract; print([n for n in ('pydantic', 'yaml', 'pytest') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_cases_run_against_the_emulator_and_are_compared_with_recorded_answers() -> None:
    emulator()
    cases = [case for case in load_cases() if case.id.startswith("health/")][:3]
    run = run_cases("emulator", cases)
    assert (len(run.cases), run.failed) == (3, False)
    assert {result.outcome for result in run.cases} == {Outcome.EQUAL}
    assert "| health | 3 | 3/3 | 3/3 | 3/3 | 3/3 | 3/3 |  |" in render_ledger([run])


def test_a_target_may_be_made_by_the_caller_and_compared_with_a_live_reference() -> None:
    emulator()
    case = Case.model_validate(
        {"id": "metadata/two", "repository": "small", "steps": [{"path": "/v2/models/two"}]}
    )
    run = run_cases(EmulatorTarget, [case], reference="emulator")
    assert (run.expected, run.actual) == ("emulator, started as triton-emulator",) * 2
    assert [result.outcome for result in run.cases] == [Outcome.EQUAL]


def test_a_target_at_a_url_needs_the_repository_that_it_serves() -> None:
    with pytest.raises(ValueError, match="needs `repository`"):
        run_cases("http://127.0.0.1:1", [], reference="http://127.0.0.1:1")


def test_a_target_at_a_url_is_given_only_cases_that_it_can_run() -> None:
    steps = [{"path": "/v2/health/live"}]
    here, elsewhere = (
        Case.model_validate({"id": f"health/{name}", "repository": name, "steps": steps})
        for name in ("http", "small")
    )
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    with literal_server(answer, answer) as one, literal_server(answer, answer) as other:
        run = run_cases(
            one.url,
            [here, elsewhere],
            reference=other.url,
            repository="http",
        )
    assert [(result.case, result.outcome) for result in run.cases] == [("health/http", Outcome.EQUAL)]


# --- addresses ---------------------------------------------------------------------------------------------------


def test_addresses_have_the_same_names_everywhere() -> None:
    ports = Ports(http=8000, grpc=8001, metrics=8002)
    assert (ports.http_url, ports.grpc_url, ports.metrics_url) == (
        "http://127.0.0.1:8000",
        "127.0.0.1:8001",
        "http://127.0.0.1:8002/metrics",
    )
    url = UrlTarget("http://[::1]:9000/s/one/")
    assert (url.http_url, url.grpc_url, url.metrics_url) == ("http://[::1]:9000/s/one", None, None)


def test_the_reference_has_the_addresses_of_its_ports() -> None:
    require_reference()
    ports = Ports(http=8000, grpc=8001, metrics=8002)
    triton = TritonServer(SMALL, ports=ports)
    assert triton.ports == ports
    assert triton.http_url == triton.url == ports.http_url
    assert (triton.grpc_url, triton.metrics_url) == (ports.grpc_url, ports.metrics_url)


# --- representations ---------------------------------------------------------------------------------------------


def test_a_target_says_which_server_it_is_and_what_that_is_doing() -> None:
    target = EmulatorTarget(["/opt/bin/triton-emulator"])
    assert repr(target) == "<EmulatorTarget triton-emulator, not running>"
    assert repr(TritonTarget("2.51.0")) == "<TritonTarget 2.51.0, not running>"
    assert repr(UrlTarget("http://host:8000")) == "<UrlTarget http://host:8000>"


def test_a_running_target_shows_its_addresses() -> None:
    target = emulator()
    target.start(SMALL, ["--model-control-mode=explicit"])
    try:
        process = target.process
        state = f"running at {target.http_url} (pid {process.pid})"
        assert repr(target) == f"<EmulatorTarget triton-emulator, {state}>"
        assert repr(process) == f"<ServerProcess emulator, {state}>"
        assert (target.grpc_url, target.metrics_url) == (process.ports.grpc_url, process.ports.metrics_url)
    finally:
        target.stop()
    assert repr(process) == "<ServerProcess emulator, not running>"


def test_a_dead_server_says_how_it_ended() -> None:
    target = emulator()
    target.start(SMALL, ["--model-control-mode=explicit"])
    try:
        os.kill(target.process.pid, signal.SIGKILL)
        assert target.death(within=10) is not None
        assert repr(target) == "<EmulatorTarget triton-emulator, killed by SIGKILL>"
    finally:
        target.stop()


def test_the_reference_says_its_version_and_repository() -> None:
    require_reference()
    assert repr(TritonServer(SMALL)) == "<TritonServer 2.51.0 over small, not running>"


def test_a_pair_says_what_is_compared_with_what() -> None:
    pair = Pair(RecordedSide({}), LiveSide(UrlTarget("http://host:8000")))
    assert repr(pair) == (
        "<Pair expected=<RecordedSide of 0 cases> actual=<LiveSide <UrlTarget http://host:8000>>>"
    )
    pair.end()
