"""Records what the real server answers: `python -m emulator.tests.backends.python.record`.

Recordings are changed in no other way. Arguments choose which are made: answers, reasons, configs.
"""

import datetime as dt
import json
import sys
from pathlib import Path

from emulator.tests.backends.python.casebook import (
    BROKEN,
    COMPLETING,
    CONFIGS,
    MODELS,
    REASONS,
    RECORDED,
    cases,
    in_words,
    masked_reasons,
)
from emulator.tests.backends.python.lab import REPOSITORY, Real, configs, index_reasons
from triton_contract.reference import DEFAULT_VERSION, TritonServer
from triton_emulator.protocol.messages import InferRequest

FLAGS = ["--exit-on-error=false"]


def answers() -> None:
    said = {}
    with TritonServer(REPOSITORY, FLAGS) as triton:
        for name, case in cases().items():
            said[name] = in_words(Real(triton).ask(case.request(), hangs=case.hangs))
            if case.fragile and not case.hangs:
                triton.restart()
        models = {name: in_words(Real(triton).ask(InferRequest(name))) for name in MODELS}
    _write(RECORDED, {"answers": said, "models": models})


def reasons() -> None:
    with TritonServer(BROKEN, FLAGS) as triton:
        _write(REASONS, {"reasons": masked_reasons(index_reasons(triton.http_url))})


def completed() -> None:
    with TritonServer(COMPLETING, FLAGS) as triton:
        _write(CONFIGS, {"configs": masked_reasons(configs(triton.http_url))})


def _write(path: Path, content: dict[str, object]) -> None:
    path.parent.mkdir(exist_ok=True)
    origin = {
        "server": f"tritonserver {DEFAULT_VERSION}",
        "python": ".".join(map(str, sys.version_info[:2])),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }
    path.write_text(json.dumps({"recorded": origin, **content}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    STEPS = {"answers": answers, "reasons": reasons, "configs": completed}
    for step in sys.argv[1:] or STEPS:
        STEPS[step]()
