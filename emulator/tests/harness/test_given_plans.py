"""Plans as data: the texts of faults, `--fault`, `faults:` in `emulator.yaml`, and what is refused."""

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from emulator.tests.test_cli_start import FREE_PORTS, Running, command, run
from triton_emulator import Emulator, SettingsError, fault
from triton_emulator.builtin import REPOSITORY
from triton_emulator.harness.fault_text import FAULTS, fault_of
from triton_emulator.harness.given import GivenPlan
from triton_emulator.harness.given_text import plan_of_text

#: each fault as a text, and the same fault made by Python
TEXTS = {
    "error(503)": fault.error(503),
    'error("RESOURCE_EXHAUSTED", "try later")': fault.error("RESOURCE_EXHAUSTED", "try later"),
    "error(status_or_code=429, message='slow, \"please\"')": fault.error(429, 'slow, "please"'),
    "delay(1.5)": fault.delay(1.5),
    "reset()": fault.reset(),
    "empty()": fault.empty(),
    "garbage()": fault.garbage(),
    "cut(after_events=3)": fault.cut(after_events=3),
    "cut(after_bytes=10)": fault.cut(after_bytes=10),
    "stall(after_events=1)": fault.stall(after_events=1),
    "stall(after_events=1, seconds=null)": fault.stall(after_events=1),
    "drip(100)": fault.drip(100),
    "error_event('lost', after_events=2)": fault.error_event("lost", after_events=2),
    "missing_final()": fault.missing_final(),
    "wrong_output('A', shape=[1, 8])": fault.wrong_output("A", shape=[1, 8]),
    "wrong_output('A', drop=true)": fault.wrong_output("A", drop=True),
    "wrong_output('A', values=[1, -2.5, 'c'])": fault.wrong_output("A", values=[1, -2.5, "c"]),
    "truncated_binary('A', bytes=2)": fault.truncated_binary("A", bytes=2),
    "not_ready(requests=2)": fault.not_ready(requests=2),
    "unloaded()": fault.unloaded(),
    "queue_full()": fault.queue_full(),
    "timeout_in_queue()": fault.timeout_in_queue(),
    "delay(1) + delay(2) + reset()": fault.delay(1) + fault.delay(2) + fault.reset(),
    " fault.delay(1)+fault.cut(after_events=2) ": fault.delay(1) + fault.cut(after_events=2),
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_means_the_fault_that_python_makes_of_it(text: str) -> None:
    assert fault_of(text) == TEXTS[text]


def test_every_fault_has_a_text() -> None:
    assert {text.strip().removeprefix("fault.").partition("(")[0] for text in TEXTS} == set(FAULTS)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "a plan begins with its fault"),
        ("operation=infer", "a plan begins with its fault"),
        ("error(503", r"'error\(503' is no fault; write it as in Python"),
        ("eror(503)", "there is no fault 'eror'; did you mean 'error'?"),
        ("reset", r"reset needs its arguments: reset\(\)"),
        ("delay()", r"delay: missing a required argument: 'seconds'; it is delay\(seconds\)"),
        ("delay(second=1)", "delay: missing a required argument: 'seconds'"),
        ("reset(1)", r"reset: too many positional arguments; it is reset\(\)"),
        ("delay(-1)", "delay: seconds is a number, 0 or more, not -1"),
        ("delay('1')", "delay: seconds is a number, 0 or more, not '1'"),
        ("error(200)", "error: the status of an error is 400 to 599, not 200"),
        ("error([])", "error: an HTTP status, the name of a gRPC status or a Code of Triton"),
        ("cut()", "cut: cut takes after_events or after_bytes"),
        ("delay(*[1])", "delay: '\\*\\[1\\]' is no number, text or list; quote a text"),
        ("delay(**{'seconds': 1})", "delay: write each argument"),
        ("error(503, busy)", "error: 'busy' is no number, text or list; quote a text"),
        ("error(503, __import__('os').name)", "is no number, text or list"),
        ("__import__('os').abort()", "is no fault"),
        ("delay(1) - reset()", "is no fault"),
        ("cut(after_events=1) + reset()", r"fault.reset\(\) is the whole answer"),
        ("delay(" + "(" * 5000 + ")" * 5000 + ")", "a fault has at most 10000 characters"),
        ("delay(" + "-" * 9000 + "1)", "is no"),
        ("delay(" + "9" * 5000 + ")", "is no fault"),
        ("+".join(["delay(0)"] * 1111), "a fault has at most|"),
        ("error(503) oparation=infer", "a plan has no field 'oparation'; did you mean 'operation'?"),
        ("error(503) where=all", "`where` is a function, which only a test in Python can give"),
        ("error(503) operation=infers", "'infers' is no operation; did you mean 'infer'?"),
        ("error(503) operation=infer model", "'model' is no field of a plan; write it as name=value"),
        ("error(503) times=2 times=3", "times is given twice"),
        (
            "error(503) times=0",
            r"times is a whole number, 1 or more \(None, in a file null, is for ever\), not 0",
        ),
        ("error(503) times=twice", "times is a whole number, 1 or more"),
        ("error(503) after=-1", "after is a whole number, 0 or more, not -1"),
        ("error(503) probability=2", "probability is above 0 and at most 1, not 2"),
        ("error(503) protocol=rest", "protocol is 'http' or 'grpc', not 'rest'"),
        ("error(503) headers=x-tenant", 'texts, such as {"x-tenant": "blue"}, not \'x-tenant\''),
        ("error(503), operation=infer", "a space is between a fault and its fields, not a comma"),
        ("error(503) headers={'x': 5}", "the header 'x' is a str, a compiled pattern or None, not 5"),
        ("cut(after_events=1) operation=infer", r"fault.cut\(after_events=1\) makes no sense for infer"),
        ("not_ready(requests=2) times=2", "says how long it lasts; leave `times` out"),
        ("empty() protocol=grpc", r"fault.empty\(\) makes no sense for grpc"),
    ],
)
def test_a_text_that_means_no_plan_is_refused(text: str, message: str) -> None:
    if message.endswith("|"):  # it is a plan, though a long one
        assert len(plan_of_text(text).fault.parts) == 1111
        return
    with pytest.raises(ValueError, match=message):
        plan_of_text(text)


def test_the_fields_of_a_text_are_those_of_inject() -> None:
    text = (
        "error(503, 'a = b') operation=infer model=llama-3.1 version=1 protocol=http "
        """headers={"x-tenant": "blue", "x-any": None} times=None after=2 probability=0.5"""
    )
    assert plan_of_text(text) == GivenPlan(
        fault.error(503, "a = b"),
        {
            "operation": "infer",
            "model": "llama-3.1",
            "version": "1",
            "protocol": "http",
            "headers": {"x-tenant": "blue", "x-any": None},
        },
        {"times": None, "after": 2, "probability": 0.5},
    )
    assert plan_of_text("reset() model='a b'").criteria == {"model": "a b"}


# --- a file ---


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    shutil.copytree(REPOSITORY / "simple", tmp_path / "models" / "simple")
    return tmp_path / "models"


def with_faults(repository: Path, text: str) -> Path:
    (repository / "emulator.yaml").write_text(text)
    return repository


@pytest.mark.parametrize(
    "text, message",
    [
        ("faults: error(503)", ":1: 'faults' must be a list"),
        ("faults:\n  - error(503)", ":2: fault 1 must be a mapping"),
        ("faults:\n  - operation: infer", ":2: 'fault' of fault 1: fault is a text"),
        ("faults:\n  - fault: [1]", ":2: 'fault' of fault 1: fault is a text"),
        (
            "faults:\n  - fault: eror(503)\n    model: a",
            ":2: 'fault' of fault 1: there is no fault 'eror'; did you",
        ),
        (
            "faults:\n  - fault: reset()\n  - fault: reset()\n    operation: infers",
            ":4: 'operation' of fault 2: 'infers' is no operation; did you mean 'infer'?",
        ),
        (
            "faults:\n  - fault: reset()\n    operation: [infer, generate]",
            ":3: 'operation' of fault 1: operation is one name, such as 'generate', not ['infer', 'generate']",
        ),
        ("faults:\n  - fault: reset()\n    model: 5", ":3: 'model' of fault 1: model is a str, not 5"),
        ("faults:\n  - fault: reset()\n    times: no", ":3: 'times' of fault 1: times is a whole number"),
        (
            "faults:\n  - fault: reset()\n    time: 2",
            ":3: 'time' of fault 1: a plan has no field 'time'; did you",
        ),
        ("faults:\n  - fault: reset()\n    where: x", ":3: 'where' of fault 1: `where` is a function"),
        ("faults:\n  - fault: reset()\n    headers: [x]", ":3: 'headers' of fault 1: headers are a mapping"),
        (
            "faults:\n  - fault: reset()\n    after: 99999999999999999999",
            ":3: 'after' of fault 1 holds an integer",
        ),
        (
            "faults:\n  - operation: infer\n    fault: cut(after_events=1)",
            ":3: 'fault' of fault 1: fault.cut(after_events=1) makes no sense for infer; it needs generate_stream",
        ),
        ("fualts: []", ":1: unknown section 'fualts'; did you mean 'faults'?"),
    ],
)
def test_a_file_that_means_no_plan_is_refused_with_its_line(
    repository: Path, text: str, message: str
) -> None:
    with pytest.raises(SettingsError) as refused, Emulator(with_faults(repository, text)):
        pass
    assert str(refused.value).startswith(f"{repository}/emulator.yaml{message}")


#: a block of its own, so that each use begins with the plan anew
TWICE = """
faults:
  - fault: delay(0) + error(503, "overloaded")
    operation: server_metadata
    headers: {user-agent: test}
    times: 2
"""


def statuses(url: str, count: int = 3) -> list[int]:
    with httpx.Client(headers={"User-Agent": "test"}) as client:
        return [client.get(f"{url}/v2").status_code for _ in range(count)]


def test_the_plans_of_a_file_are_for_an_emulator_its_sessions_and_after_a_reset(repository: Path) -> None:
    with Emulator(with_faults(repository, TWICE)) as triton:
        assert statuses(triton.http_url) == [503, 503, 200]
        with triton.session() as session:
            assert statuses(session.http_url) == [503, 503, 200]
            old = session.requests
            session.reset()
            assert (old.count, session.requests.count) == (3, 0)
            assert statuses(session.http_url) == [503, 503, 200]
        assert httpx.get(f"{triton.http_url}/v2").status_code == 200  # another user agent
        triton.reset()
        assert [plan.fired for plan in triton.plans] == [0]


def test_a_plan_of_a_file_fails_no_test_that_does_not_reach_it(repository: Path) -> None:
    with Emulator(with_faults(repository, TWICE)) as triton:
        assert triton.problems() == []
        triton.inject(fault.reset(), operation="infer")
        (problem,) = triton.problems()
        assert problem.startswith("the plan fault.reset() for operation='infer' fired 0 of 1 times")


def test_a_reset_forgets_plans_and_problems(repository: Path) -> None:
    with Emulator(repository) as triton:
        triton.inject(fault.reset(), operation="server_metadata")
        httpx.get(f"{triton.http_url}/v2/models/nobody")
        triton.reset()
        assert statuses(triton.http_url, 1) == [200]
        assert triton.problems() == []


def test_the_option_faults_takes_the_texts_of_the_flag(repository: Path) -> None:
    with Emulator(repository) as triton:
        with triton.session(faults=("error(429) operation=server_metadata",)) as session:
            assert statuses(session.http_url, 2) == [429, 200]
        with pytest.raises(ValueError, match=r"faults: 'eror\(429\)': there is no fault 'eror'"):
            triton.session(faults=("eror(429)",))


# --- the command line ---


def test_the_command_arms_the_plans_of_flags_and_file_and_tells_what_has_not_fired(repository: Path) -> None:
    process = subprocess.Popen(
        command(
            f"--model-repository={with_faults(repository, TWICE)}",
            "--fault=error(429) operation=server_metadata",
            "--fault",
            "reset() operation=infer model=simple",
            *FREE_PORTS,
        ),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        running = Running(process)
        assert statuses(running.url, 4) == [429, 503, 503, 200]
    finally:
        process.terminate()
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert (
        "the plan fault.reset() for operation='infer', model='simple' fired 0 of 1 times: 0 fitting requests came"
    ) in log
    assert log.count("fired") == 1


def test_the_command_refuses_a_flag_that_means_no_plan() -> None:
    code, printed = run("--fault", "eror(503) operation=infer")
    assert code == 1
    assert printed.splitlines()[:2] == [
        'Bad option: "--fault".',
        "eror(503) operation=infer: there is no fault 'eror'; did you mean 'error'?",
    ]


def test_the_command_refuses_a_file_that_means_no_plan(repository: Path) -> None:
    code, printed = run(
        f"--model-repository={with_faults(repository, 'faults: [{fault: reset(1)}]')}", *FREE_PORTS
    )
    assert code == 1
    assert printed.startswith(
        f"error: creating server: {repository}/emulator.yaml:1: 'fault' of fault 1: reset: too many positional"
    )
