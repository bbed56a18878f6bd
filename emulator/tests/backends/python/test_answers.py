"""What model code sees, and what its responses become: the same code in our Python backend and in the real one."""

import json
from collections.abc import Iterator

import pytest

from emulator.tests.backends.python.casebook import (
    BROKEN,
    MODELS,
    REASONS,
    Case,
    cases,
    in_words,
    masked,
    recorded,
)
from emulator.tests.backends.python.lab import REPOSITORY, Emulated, Real, definition, index_reasons
from triton_contract.reference import TritonServer
from triton_contract.reference.pytest_support import require_reference
from triton_emulator.backends.python.loading import Hooks, auto_complete, load
from triton_emulator.engine.executor import LoadError
from triton_emulator.protocol.messages import InferRequest

FLAGS = ["--exit-on-error=false"]
FILES = sorted({name.partition(":")[0] for name, case in cases().items() if not case.fragile})
WHY = json.loads(REASONS.read_text())["reasons"]


@pytest.fixture(scope="module", params=[False, True], ids=["in-a-thread", "in-a-process"])
def processes(request: pytest.FixtureRequest) -> bool:
    """Whether each instance of a model has a process of its own."""
    return bool(request.param)


@pytest.fixture(scope="module")
def emulated(processes: bool) -> Iterator[Emulated]:
    backend = Emulated(process_per_model=processes)
    yield backend
    backend.close()


@pytest.mark.parametrize("name", cases())
def test_code_sees_what_it_sees_in_the_real_server(emulated: Emulated, processes: bool, name: str) -> None:
    case = cases()[name]
    # each fragile case was recorded with its own server
    backend = Emulated(process_per_model=processes) if case.fragile else emulated
    (answers,) = backend.ask(case.request(), wait=0.2 if case.hangs else 10.0)
    assert in_words(answers) == recorded()[name]
    if backend is not emulated:
        backend.close()


@pytest.mark.parametrize("turn", ["first", "second"])
@pytest.mark.parametrize("name", MODELS)
def test_modules_see_what_they_see_in_a_process_of_their_own(
    emulated: Emulated, name: str, turn: str
) -> None:
    (answers,) = emulated.ask(InferRequest(name))
    assert in_words(answers) == recorded()[name]


@pytest.mark.parametrize("name", WHY)
def test_a_broken_model_fails_to_load_for_the_reason_that_the_real_server_gives(
    processes: bool, name: str
) -> None:
    hooks = Hooks(process_per_model=processes)
    model = definition(name, repository=BROKEN)
    reason = ""
    try:
        auto_complete(model, hooks)
        load(model, hooks).finalize()
    except LoadError as error:
        reason = str(error)
    assert masked(reason) == WHY[name]


@pytest.fixture(scope="module")
def real() -> Iterator[Real]:
    require_reference()
    with TritonServer(REPOSITORY, FLAGS) as triton:
        yield Real(triton)


@pytest.mark.parametrize("file", FILES)
def test_the_real_server_still_answers_as_recorded(real: Real, file: str) -> None:
    asked = [case for name, case in cases().items() if name.startswith(f"{file}:") and not case.fragile]
    assert {case.name: answers(real, case) for case in asked} == {
        case.name: recorded()[case.name] for case in asked
    }


@pytest.mark.parametrize("name", MODELS)
def test_modules_still_see_in_the_real_server_what_was_recorded(real: Real, name: str) -> None:
    assert in_words(real.ask(InferRequest(name))) == recorded()[name]


def answers(real: Real, case: Case) -> list[str]:
    return in_words(real.ask(case.request()))


def test_the_real_server_still_gives_the_reasons_recorded() -> None:
    require_reference()
    with TritonServer(BROKEN, FLAGS) as triton:
        reasons = index_reasons(triton.http_url)
    assert {name: masked(reason) for name, reason in reasons.items()} == WHY
