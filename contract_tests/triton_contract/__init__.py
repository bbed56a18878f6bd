"""Cases, recorded answers and reports that compare any Triton server with the real one.

`run_cases("emulator")` runs all cases against the emulator, compares its answers with the recorded answers of the real
server and returns a `RunResult`; `render_ledger([result])` makes a page of it. `with TritonServer("models") as triton:`
runs the real server itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from triton_contract.cases.case import Case
    from triton_contract.cases.load import CaseError, load_cases
    from triton_contract.comparing.compare import Outcome, Verdict
    from triton_contract.comparing.divergences import DivergenceError
    from triton_contract.comparing.results import CaseResult, RunResult
    from triton_contract.process import Ports, ServerFailed
    from triton_contract.reference.pytest_support import require_reference
    from triton_contract.reference.server import TritonServer
    from triton_contract.reference.wheel import ReferenceUnavailable
    from triton_contract.reporting.ledger import render_ledger
    from triton_contract.running.run import run_cases
    from triton_contract.targets.emulator import EmulatorTarget
    from triton_contract.targets.target import Target, TargetUnavailable
    from triton_contract.targets.triton import TritonTarget
    from triton_contract.targets.url import UrlTarget

_HOMES = {
    "Case": "triton_contract.cases.case",
    "CaseError": "triton_contract.cases.load",
    "CaseResult": "triton_contract.comparing.results",
    "DivergenceError": "triton_contract.comparing.divergences",
    "EmulatorTarget": "triton_contract.targets.emulator",
    "Outcome": "triton_contract.comparing.compare",
    "Ports": "triton_contract.process",
    "ReferenceUnavailable": "triton_contract.reference.wheel",
    "RunResult": "triton_contract.comparing.results",
    "ServerFailed": "triton_contract.process",
    "Target": "triton_contract.targets.target",
    "TargetUnavailable": "triton_contract.targets.target",
    "TritonServer": "triton_contract.reference.server",
    "TritonTarget": "triton_contract.targets.triton",
    "UrlTarget": "triton_contract.targets.url",
    "Verdict": "triton_contract.comparing.compare",
    "load_cases": "triton_contract.cases.load",
    "render_ledger": "triton_contract.reporting.ledger",
    "require_reference": "triton_contract.reference.pytest_support",
    "run_cases": "triton_contract.running.run",
}

__all__ = [
    "Case",
    "CaseError",
    "CaseResult",
    "DivergenceError",
    "EmulatorTarget",
    "Outcome",
    "Ports",
    "ReferenceUnavailable",
    "RunResult",
    "ServerFailed",
    "Target",
    "TargetUnavailable",
    "TritonServer",
    "TritonTarget",
    "UrlTarget",
    "Verdict",
    "load_cases",
    "render_ledger",
    "require_reference",
    "run_cases",
]


def __getattr__(name: str) -> object:
    # imported when asked for: a program that only starts the real server should not pay for the cases' schema
    if name in _HOMES:
        from triton_contract.extras import needing

        with needing("contract", "triton_contract"):
            return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
