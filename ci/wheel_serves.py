"""Start an installed `triton-emulator` with its built-in models and ask it over HTTP whether all of them are ready."""

import json
import re
import signal
import subprocess
import sys
import urllib.request

STARTED = re.compile(r"Started HTTPService at (\S+)")


def main(program: str) -> int:
    """Print what is served; the exit code is 1 if a model is not ready or the program does not end cleanly."""
    command = [program, "--http-port=0", "--metrics-port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        printed: list[str] = []
        started = None
        while started is None and (line := server.stdout.readline()):
            printed.append(line)
            started = STARTED.search(line)
        if started is None:
            print("".join(printed), f"{program} ended with {server.wait()}", sep="")
            return 1
        request = urllib.request.Request(f"http://{started[1]}/v2/repository/index", method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            models = json.load(answer)
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    print("serves", *(f"{model['name']} ({model.get('state', 'UNAVAILABLE')})" for model in models))
    return int(server.returncode != 0 or not models or any(model.get("state") != "READY" for model in models))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
