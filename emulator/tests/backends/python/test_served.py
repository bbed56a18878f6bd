"""The same cases over HTTP, through the whole emulator."""

import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from emulator.tests.backends.python.casebook import MODELS, cases, in_words, recorded
from emulator.tests.backends.python.lab import REPOSITORY, Real, case
from emulator.tests.backends.python.test_metrics import COUNTERS, DEFINE, GAUGES, HISTOGRAMS
from triton_emulator import Emulator
from triton_emulator.protocol.messages import InferRequest

FILES = sorted({name.partition(":")[0] for name in cases()} - {"metrics"})


@dataclass(frozen=True, slots=True)
class Served:
    """An emulator with the interface of `RealServer`."""

    http_url: str
    metrics_url: str

    def restart(self) -> None:
        raise AssertionError("the emulator has not answered")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Emulator(REPOSITORY) as triton:
        yield Served(triton.url, triton.metrics_url)


@pytest.mark.parametrize("file", FILES)
def test_a_served_model_answers_as_the_real_server_does(served: Served, file: str) -> None:
    asked = [case for name, case in cases().items() if name.startswith(f"{file}:") and not case.hangs]
    answers = {case.name: in_words(Real(served).ask(case.request())) for case in asked}
    assert answers == {case.name: recorded()[case.name] for case in asked}


@pytest.mark.parametrize("name", MODELS)
def test_a_served_models_modules_are_its_own(served: Served, name: str) -> None:
    assert in_words(Real(served).ask(InferRequest(name))) == recorded()[name]


def test_models_metrics_are_on_the_metrics_port_after_tritons_of_the_same_kind(served: Served) -> None:
    Real(served).ask(case(DEFINE))
    with urllib.request.urlopen(served.metrics_url) as answer:
        text = answer.read().decode()
    last_counter, first_gauge = "# HELP nv_inference_compute_output", "# HELP nv_inference_pending"
    places = [text.index(part) for part in (last_counter, COUNTERS, first_gauge, GAUGES + HISTOGRAMS)]
    assert places == sorted(places)
