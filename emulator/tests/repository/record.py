"""Records a real server's answers about every case in `config_cases`, into `recorded/`.

Run as `python -m emulator.tests.repository.record` from the project's root; with names, only those cases are recorded
again.
"""

import datetime as dt
import http.client
import json
import re
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emulator.tests.repository.config_case import MODEL_PY, ConfigCase
from emulator.tests.repository.config_cases import CASES
from emulator.tests.repository.standin_cases import STANDIN_BACKENDS, STANDIN_CASES
from triton_contract.reference import DEFAULT_VERSION, TritonServer
from triton_contract.reference.installation import install

RECORDED = Path(__file__).parent / "recorded"
#: time, process and source line at the start of a log line
_LOG_PREFIX = re.compile(r"^([IWE])\d{4} [\d:.]+ \d+ \S+\] ")


def call(url: str, body: bytes | None = None) -> tuple[int, str]:
    """Status and body of a GET, or of a POST of `body`."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=120) as answer:
            return answer.status, answer.read().decode("utf-8")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8")


def errors_in(log: str) -> list[str]:
    """The texts of a log's error lines."""
    return [
        line[found.end() :]
        for line in log.splitlines()
        if (found := _LOG_PREFIX.match(line)) and found[1] == "E"
    ]


def answers_of(server: TritonServer, name: str) -> dict[str, Any]:
    """Load one model, record all answers of the server about it, and unload it."""
    before = len(server.log.read_text(errors="replace"))
    status, body = call(f"{server.http_url}/v2/repository/models/{name}/load", b"{}")
    index = json.loads(call(f"{server.http_url}/v2/repository/index", b"{}")[1])
    answer: dict[str, Any] = {"load": [status, body]}
    answer["index"] = [row for row in index if row["name"] == name]
    answer["config"] = call(f"{server.http_url}/v2/models/{name}/config")
    answer["metadata"] = call(f"{server.http_url}/v2/models/{name}")
    answer["log"] = errors_in(server.log.read_text(errors="replace")[before:])
    call(f"{server.http_url}/v2/repository/models/{name}/unload", b"{}")
    text = json.dumps(answer, ensure_ascii=False).replace(str(server.repository), "{repository}")
    found: dict[str, Any] = json.loads(text)
    return found


def record(topic: str, cases: Mapping[str, ConfigCase], flags: Sequence[str], names: Sequence[str]) -> None:
    """Record `cases`, or those in `names`, with one server in explicit mode."""
    path = RECORDED / f"{topic}.json"
    wanted = [name for name in cases if not names or name in names]
    answers = json.loads(path.read_text(encoding="utf-8"))["answers"] if names else {}
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder).resolve() / "repository"
        for name, case in cases.items():
            case.write(repository / name)
        flags = ["--model-control-mode=explicit", "--exit-on-error=false", *flags]
        with TritonServer(repository, flags) as server:
            for name in wanted:
                try:
                    answers[name] = answers_of(server, name)
                except (OSError, http.client.HTTPException):
                    if server.death(within=10) is None:
                        raise
                    answers[name] = {"died": True}
                    server.restart()
                print(name, answers[name].get("load", "the server died"), flush=True)  # noqa: T201
    recorded = {
        "server": f"tritonserver {DEFAULT_VERSION}, the wheel's, on a CPU",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "how": "python -m emulator.tests.repository.record",
        "answers": {name: answers[name] for name in cases},
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(recorded, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Record everything, or the cases named on the command line."""
    names = sys.argv[1:]
    if not names or set(names) & set(CASES):
        record("configs", CASES, (), names)
    if not names or set(names) & set(STANDIN_CASES):
        with tempfile.TemporaryDirectory() as folder:
            backends = Path(folder, "backends")
            shutil.copytree(install().backends, backends)
            for backend in STANDIN_BACKENDS:
                (backends / backend).mkdir()
                (backends / backend / "model.py").write_text(MODEL_PY, encoding="utf-8")
            record("standin_configs", STANDIN_CASES, [f"--backend-directory={backends}"], names)


if __name__ == "__main__":
    main()
