"""The real server in front of which the harness stands."""

from collections.abc import Iterator

import pytest

from triton_contract.reference import TritonServer
from triton_contract.reference.pytest_support import require_reference
from triton_emulator.builtin import REPOSITORY

FLAGS = [
    "--model-control-mode=explicit",
    "--load-model=simple",
    "--load-model=simple_string",
    "--load-model=vllm",
    "--allow-cpu-metrics=false",
]


@pytest.fixture(scope="session")
def real() -> Iterator[TritonServer]:
    """Triton 2.51 with some of the built-in models, which it runs as they are."""
    require_reference()
    with TritonServer(REPOSITORY, FLAGS) as triton:
        yield triton
