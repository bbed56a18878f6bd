"""Records a real server's answers to every text in `text_cases`, into `recorded/texts.json`.

Run as `python -m emulator.tests.repository.record_texts` from the project's root. Protobuf says in the server's log
what is wrong in a text.
"""

import datetime as dt
import http.client
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from emulator.tests.repository.config_case import ANSWERING_MODEL_PY
from emulator.tests.repository.record import RECORDED, call
from emulator.tests.repository.text_cases import MEMBER, TEXTS, TextCase
from triton_contract.reference import DEFAULT_VERSION, TritonServer

_FAULT = re.compile(rb"Error parsing text-format inference\.ModelConfig: (.*)")


def answers_of(server: TritonServer, case: TextCase) -> dict[str, Any]:
    """What is wrong in the text by the log, the answer to a load, and the config of a model that was loaded."""
    (server.repository / "m" / "config.pbtxt").write_bytes(case.config)
    before = len(server.log.read_bytes())
    load = call(f"{server.http_url}/v2/repository/models/m/load", b"{}")
    found = _FAULT.findall(server.log.read_bytes()[before:])
    answer: dict[str, Any] = {
        "load": load,
        "faults": [each.decode("utf-8", "backslashreplace") for each in found],
    }
    if load[0] == http.client.OK:
        answer["config"] = call(f"{server.http_url}/v2/models/m/config")[1]
        call(f"{server.http_url}/v2/repository/models/m/unload", b"{}")
    return answer


def main() -> None:
    answers = {}
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder).resolve() / "repository"
        for name in ("good", "m"):
            (repository / name / "1").mkdir(parents=True)
            (repository / name / "1" / "model.py").write_text(ANSWERING_MODEL_PY, encoding="utf-8")
        (repository / "good" / "config.pbtxt").write_bytes(MEMBER)
        flags = ["--model-control-mode=explicit", "--load-model=good", "--exit-on-error=false"]
        with TritonServer(repository, flags) as server:
            for case in TEXTS:
                answers[case.name] = answers_of(server, case)
                print(case.name, answers[case.name], flush=True)  # noqa: T201
    recorded = {
        "server": f"tritonserver {DEFAULT_VERSION}, the wheel's, on a CPU",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "how": "python -m emulator.tests.repository.record_texts",
        "answers": answers,
    }
    text = json.dumps(recorded, ensure_ascii=False, indent=1)
    (RECORDED / "texts.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
