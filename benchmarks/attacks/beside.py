"""A client beside an attack, in a process of its own: it asks ordinary requests without a pause and times each.

`python -m benchmarks.attacks.beside HOST HTTP_PORT GRPC_PORT` asks until its standard input ends. It prints one JSON
object a line whenever it reads a line: the answers since the line before, by kind.
"""

import http.client
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

#: seconds after which a request counts as unanswered
TIMEOUT = 60
#: seconds between two requests of one kind
_PAUSE = 0.01
_BODY = json.dumps(
    {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]}]}
).encode()


@dataclass
class Times:
    """The answers to one kind of request: milliseconds of each, and the faults."""

    milliseconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        taken = sorted(self.milliseconds)
        if not taken:
            return {"asked": len(self.faults), "failed": len(self.faults), "faults": self.faults[:3]}
        return {
            "asked": len(taken) + len(self.faults),
            "failed": len(self.faults),
            **({"faults": self.faults[:3]} if self.faults else {}),
            "p50_ms": round(taken[len(taken) // 2], 1),
            "p99_ms": round(taken[len(taken) * 99 // 100], 1),
            "max_ms": round(taken[-1], 1),
        }


class Asker(threading.Thread):
    """Asks one kind of request on one connection until it is told to end."""

    def __init__(self, kind: str, ask: Callable[[], None]) -> None:
        super().__init__(name=kind, daemon=True)
        self._ask = ask
        self._ended = threading.Event()
        self._times = Times()

    def taken(self) -> Times:
        """The answers since the last call of this."""
        taken, self._times = self._times, Times()
        return taken

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        while not self._ended.wait(_PAUSE):
            begin = time.perf_counter()
            try:
                self._ask()
            except Exception as fault:  # noqa: BLE001  (whatever went wrong, the request was not answered)
                self._times.faults.append(f"{type(fault).__name__}: {fault}"[:200])
            else:
                self._times.milliseconds.append(1000 * (time.perf_counter() - begin))


def _http(host: str, port: int, method: str, path: str, body: bytes | None) -> Callable[[], None]:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)

    def ask() -> None:
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            told = answer.read()
        except BaseException:
            connection.close()
            raise
        if answer.status != 200:
            raise ValueError(f"status {answer.status}: {told[:100]!r}")

    return ask


def _grpc(target: str) -> Callable[[], None]:
    call = grpc.insecure_channel(target).unary_unary("/inference.GRPCInferenceService/ServerReady")
    return lambda: call(b"", timeout=TIMEOUT)


def main() -> None:
    host, port, grpc_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    askers = [
        Asker("health", _http(host, port, "GET", "/v2/health/live", None)),
        Asker("infer", _http(host, port, "POST", "/v2/models/identity/infer", _BODY)),
        Asker("gRPC", _grpc(f"{host}:{grpc_port}")),
    ]
    for asker in askers:
        asker.start()
    for _ in sys.stdin:
        print(json.dumps({asker.name: asker.taken().summary() for asker in askers}), flush=True)
    for asker in askers:
        asker.end()


if __name__ == "__main__":
    main()
