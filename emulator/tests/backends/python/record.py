"""Writes down what the real server answers: `python -m emulator.tests.backends.python.record`.

The only way in which the recordings change.
"""

import datetime
import json
import sys
from pathlib import Path

from emulator.tests.backends.python.casebook import BROKEN, REASONS, RECORDED, cases, in_words, masked
from emulator.tests.backends.python.lab import REPOSITORY, Real, index_reasons
from triton_contract.reference import DEFAULT_VERSION, TritonServer

FLAGS = ["--exit-on-error=false"]


def main() -> None:
    answers = {}
    with TritonServer(REPOSITORY, FLAGS) as triton:
        for name, case in cases().items():
            answers[name] = in_words(Real(triton).ask(case.request(), hangs=case.hangs))
    _write(RECORDED, {"answers": answers})
    with TritonServer(BROKEN, FLAGS) as triton:
        reasons = {name: masked(reason) for name, reason in index_reasons(triton.http_url).items()}
    _write(REASONS, {"reasons": reasons})


def _write(path: Path, content: dict[str, object]) -> None:
    path.parent.mkdir(exist_ok=True)
    origin = {
        "server": f"tritonserver {DEFAULT_VERSION}",
        "python": ".".join(map(str, sys.version_info[:2])),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    path.write_text(json.dumps({"recorded": origin, **content}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
