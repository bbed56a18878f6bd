"""Records what a real server makes of every case in `config_cases`: writes `recorded/configs.json`.

Run as `python -m emulator.tests.repository.record` from the project's root; with names, only those cases are recorded again.
"""

import datetime
import http.client
import json
import re
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from triton_contract.reference import DEFAULT_VERSION, TritonServer

from emulator.tests.repository.config_cases import CASES

RECORDED = Path(__file__).parent / "recorded" / "configs.json"
#: time, process and source line in front of what a log line says
_LOG_PREFIX = re.compile(r"^([IWE])\d{4} [\d:.]+ \d+ \S+\] ")


def call(url: str, body: bytes | None = None) -> tuple[int, str]:
    """Status and body of a GET, or of a POST of `body`."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=120) as answer:
            return answer.status, answer.read().decode("utf-8")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8")


def errors_in(log: str) -> list[str]:
    """What the error lines of a log say."""
    return [
        line[found.end() :]
        for line in log.splitlines()
        if (found := _LOG_PREFIX.match(line)) and found[1] == "E"
    ]


def answers_of(server: TritonServer, name: str) -> dict[str, Any]:
    """Load one model and ask for everything that the server says of it."""
    before = len(server.log.read_text(errors="replace"))
    status, body = call(f"{server.http_url}/v2/repository/models/{name}/load", b"{}")
    index = json.loads(call(f"{server.http_url}/v2/repository/index", b"{}")[1])
    answer: dict[str, Any] = {"load": [status, body]}
    answer["index"] = [row for row in index if row["name"] == name]
    answer["config"] = call(f"{server.http_url}/v2/models/{name}/config")
    answer["metadata"] = call(f"{server.http_url}/v2/models/{name}")
    answer["log"] = errors_in(server.log.read_text(errors="replace")[before:])
    text = json.dumps(answer, ensure_ascii=False).replace(str(server.repository), "{repository}")
    return json.loads(text)


def main() -> None:
    """Record every case with one server in explicit mode."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder).resolve() / "repository"
        for name, case in CASES.items():
            case.write(repository / name)
        flags = ["--model-control-mode=explicit", "--exit-on-error=false"]
        wanted = sys.argv[1:] or list(CASES)
        answers = json.loads(RECORDED.read_text(encoding="utf-8"))["answers"] if sys.argv[1:] else {}
        with TritonServer(repository, flags) as server:
            for name in wanted:
                try:
                    answers[name] = answers_of(server, name)
                    call(f"{server.http_url}/v2/repository/models/{name}/unload", b"{}")
                except (OSError, http.client.HTTPException):
                    if server.death(within=10) is None:
                        raise
                    answers[name] = {"died": True}
                    server.restart()
                print(name, answers[name].get("load", "the server died"), flush=True)
    recorded = {
        "server": f"tritonserver {DEFAULT_VERSION}, the wheel's, on a CPU",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "how": "python -m emulator.tests.repository.record",
        "answers": {name: answers[name] for name in CASES},
    }
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_text(json.dumps(recorded, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
