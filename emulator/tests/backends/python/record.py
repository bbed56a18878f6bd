"""Writes down what the real server answers: `python -m emulator.tests.backends.python.record`.

The only way in which the recordings change.
"""

import datetime as dt
import json
import sys
from pathlib import Path

from emulator.tests.backends.python.casebook import BROKEN, MODELS, REASONS, RECORDED, cases, in_words, masked
from emulator.tests.backends.python.lab import REPOSITORY, Real, index_reasons
from triton_contract.reference import DEFAULT_VERSION, TritonServer
from triton_emulator.protocol.messages import InferRequest

FLAGS = ["--exit-on-error=false"]


def main() -> None:
    answers = {}
    with TritonServer(REPOSITORY, FLAGS) as triton:
        for name, case in cases().items():
            answers[name] = in_words(Real(triton).ask(case.request(), hangs=case.hangs))
            if case.fragile and not case.hangs:
                triton.restart()
        models = {name: in_words(Real(triton).ask(InferRequest(name))) for name in MODELS}
    _write(RECORDED, {"answers": answers, "models": models})
    with TritonServer(BROKEN, FLAGS) as triton:
        reasons = {name: masked(reason) for name, reason in index_reasons(triton.http_url).items()}
    _write(REASONS, {"reasons": reasons})


def _write(path: Path, content: dict[str, object]) -> None:
    path.parent.mkdir(exist_ok=True)
    origin = {
        "server": f"tritonserver {DEFAULT_VERSION}",
        "python": ".".join(map(str, sys.version_info[:2])),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }
    path.write_text(json.dumps({"recorded": origin, **content}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
