"""Old and new releases of tritonclient against each personality: over HTTP and gRPC, blocking and asyncio.

An older release needs packages that conflict with ours, so it runs in an environment of its own (`make install`).
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from triton_contract import recordings
from triton_contract.cases.load import MODELS
from triton_contract.reference import DEFAULT_VERSION
from triton_contract.targets import EmulatorTarget, emulator_command

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("client_program.py")
CLIENTS = {
    "2.41": ROOT / ".venv-tritonclient-2.41" / "bin" / "python",
    "2.51": ROOT / ".venv-tritonclient-2.51" / "bin" / "python",
    "ours, the newest": Path(sys.executable),
}
VERSIONS = sorted((*recordings.NEIGHBOURS, DEFAULT_VERSION))
SUM = [[2, 4, 6, 8]]
UNKNOWN = "Request for unknown model: 'nope' is not found"


@pytest.fixture(scope="module", params=VERSIONS)
def emulator(request: pytest.FixtureRequest) -> Iterator[tuple[str, EmulatorTarget]]:
    target = EmulatorTarget([*emulator_command(), f"--triton-version={request.param}"])
    target.start(MODELS / "small", ())
    yield request.param, target
    target.stop()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_understands_every_version(emulator: tuple[str, EmulatorTarget], client: str) -> None:
    python = CLIENTS[client]
    if not python.is_file():
        pytest.fail(f"{python} is missing: run `make install`")
    version, target = emulator
    ports = target.process.ports
    ran = subprocess.run(
        [str(python), str(PROGRAM), f"127.0.0.1:{ports.http}", f"127.0.0.1:{ports.grpc}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    newest = version == "2.72.0"
    oldest = version == "2.41.0"  # every error is a 400 over HTTP
    unknown = ["400" if oldest else "404", UNKNOWN]
    assert json.loads(ran.stdout) == {
        "blocking http": {
            "live": True,
            "version": version,
            "sums": [SUM, SUM],
            "two outputs of one name": (["400", TWICE] if newest else ["", "no error"]),
            "an unknown model": unknown,
            "a region": (
                ["501", DISABLED]
                if newest
                else ["400" if oldest else "500", "Unable to open shared memory region: '/no_such_key'"]
            ),
        },
        "blocking grpc": {
            "live": True,
            "version": version,
            "sum": SUM,
            "stream": ["[b'a']", "[b'b']"],
            "an unknown model": ["StatusCode.NOT_FOUND", UNKNOWN],
            "a region": (
                ["StatusCode.UNIMPLEMENTED", DISABLED]
                if newest
                else ["StatusCode.INTERNAL", "Unable to open shared memory region: '/no_such_key'"]
            ),
        },
        "asyncio http": {"sum": SUM, "an unknown model": unknown},
        "asyncio grpc": {"sum": SUM, "an unknown model": ["StatusCode.NOT_FOUND", UNKNOWN]},
    }


TWICE = "[request id: <id_unknown>] output 'OUTPUT0' already exists in request"
DISABLED = "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
