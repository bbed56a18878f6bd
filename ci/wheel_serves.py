"""Start an installed `triton-emulator` with its built-in models and ask it over HTTP whether all of them are ready."""

import json
import re
import signal
import subprocess
import sys
import urllib.request

STARTED = re.compile(r"Started HTTPService at ([\w.]+:\d+)")


def index_of(server: subprocess.Popen[str]) -> list[dict[str, str]]:
    """Wait for the server's HTTP address and ask there; none if it ends before, with what it printed shown."""
    assert server.stdout is not None
    printed: list[str] = []
    for line in server.stdout:
        if started := STARTED.search(line):
            request = urllib.request.Request(f"http://{started[1]}/v2/repository/index", method="POST")
            with urllib.request.urlopen(request, timeout=30) as answer:
                models: list[dict[str, str]] = json.load(answer)
                return models
        printed.append(line)
    print("".join(printed))
    return []


def main(program: str) -> int:
    """Print what is served; the exit code is 1 if a model is not ready or the program does not end cleanly."""
    command = [program, "--http-port=0", "--metrics-port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            models = index_of(server)
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=60)
        finally:
            server.kill()  # leaving the block waits for it
    print("serves", *(f"{model['name']} ({model.get('state', 'UNAVAILABLE')})" for model in models))
    return int(server.returncode != 0 or not models or any(model.get("state") != "READY" for model in models))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
