"""Sends the same request to the real server's Python backend and to ours, and gives both answers one form."""

import json
import queue
import struct
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from triton_emulator.backends.python.executor import PythonExecutor
from triton_emulator.backends.python.loading import Hooks, load
from triton_emulator.backends.python.metrics import MetricRegistry
from triton_emulator.backends.python.server import Cancel, Receive
from triton_emulator.engine.call import Call
from triton_emulator.engine.executor import ModelDefinition
from triton_emulator.engine.validation import validate
from triton_emulator.protocol.errors import unavailable
from triton_emulator.protocol.messages import InferRequest, InferResponse, RequestedOutput
from triton_emulator.protocol.personality import DEFAULT_VERSION, personality
from triton_emulator.protocol.tensor import Tensor
from triton_emulator.repository.config import completion, pbtxt
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.versions import parse_version

REPOSITORY = Path(__file__).with_name("repository")

#: what is observed of one response: its outputs (name, datatype, shape, bytes) in order, or the error's text
_Inbox = queue.SimpleQueue[tuple[InferResponse | None, bool]]
Answer = list[tuple[str, str, tuple[int, ...], bytes]] | str


def text_input(name: str, text: str) -> Tensor:
    data = text.encode()
    return Tensor(name, "BYTES", (1,), data=struct.pack("<I", len(data)) + data)


def definition(name: str, version: int = 1, repository: Path = REPOSITORY) -> ModelDefinition:
    """The model's definition as the repository makes it."""
    folder = repository / name
    proto = pbtxt.read_config(folder / "config.pbtxt")
    completion.complete(proto, name, folder / str(version))
    completion.complete_instance_groups(proto)
    return ModelDefinition(name, version, ModelConfig.of(proto), folder)


class Emulated:
    """Our backend, called as the engine calls it. It is also the `Server` of its models."""

    def __init__(self, repository: Path = REPOSITORY, *, process_per_model: bool = False) -> None:
        self._repository = repository
        self._executors: dict[str, PythonExecutor] = {}
        self.metrics = MetricRegistry()
        self._hooks = Hooks(self, self.metrics, process_per_model)

    def is_ready(self, name: str, version: str) -> bool:
        parse_version(version)
        return version in ("", "1") and (self._repository / name).is_dir()

    def is_decoupled(self, name: str, version: str) -> bool:
        return self.executor(name).config.decoupled

    def infer(self, request: InferRequest, receive: Receive) -> Cancel:
        executor = self.executor(request.model_name)
        validate(request, executor.config, personality(DEFAULT_VERSION))
        call = Call(request, 1, receive, lambda deliver, response, final: deliver(response, final))
        executor.start_worker(0, lambda: executor.execute([call], 0))  # an instance has one thread for all
        return call.cancel

    def load(self, name: str, parameters: Mapping[str, str | bytes]) -> None:
        raise unavailable("explicit model load / unload is not allowed if polling is enabled")

    def unload(self, name: str, *, unload_dependents: bool) -> None:
        raise unavailable("explicit model load / unload is not allowed if polling is enabled")

    def executor(self, model: str) -> PythonExecutor:
        if model not in self._executors:
            self._executors[model] = load(definition(model, repository=self._repository), self._hooks)
        return self._executors[model]

    def ask(self, *requests: InferRequest, wait: float = 5.0) -> list[list[Answer]]:
        """Execute the requests as one batch; return the answers to each, up to its final flag."""
        executor = self.executor(requests[0].model_name)
        inboxes: list[_Inbox] = [queue.SimpleQueue() for _ in requests]
        calls = [_call(request, inbox) for request, inbox in zip(requests, inboxes, strict=True)]
        executor.start_worker(0, lambda: executor.execute(calls, 0))
        return [_drain(inbox, wait) for inbox in inboxes]

    def close(self) -> None:
        for executor in self._executors.values():
            executor.finalize()


def _call(request: InferRequest, inbox: _Inbox) -> Call:
    def deliver(response: InferResponse | None, final: bool) -> None:
        inbox.put((response, final))

    return Call(request, 1, deliver, lambda put, response, final: put(response, final))


def in_text(response: InferResponse) -> list[str]:
    """The elements of a response's only output, which has the datatype BYTES."""
    (output,) = response.outputs
    return [element.decode() for element in output.array.ravel().tolist()]


def _drain(inbox: _Inbox, wait: float) -> list[Answer]:
    answers: list[Answer] = []
    final = False
    while not final:
        try:
            response, final = inbox.get(timeout=wait)
        except queue.Empty:
            return [*answers, "(no final response)"]
        if response is not None:
            answers.append(
                response.error.message
                if response.error
                else [(t.name, t.datatype, t.shape, bytes(t.data)) for t in response.outputs]
            )
    return answers


class Server(Protocol):
    """A real server, started by triton_contract."""

    @property
    def http_url(self) -> str: ...

    def restart(self) -> None: ...


class Real:
    """The real server, over HTTP."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def ask(self, request: InferRequest, *, hangs: bool = False, wait: float = 4.0) -> list[Answer]:
        """The answers to one request. A decoupled model's answers show only outputs of text.

        The real server sometimes ends or hangs while it refuses a metric. Then it is restarted, and the request is sent
        again, five times at most. A request that is expected to hang is sent once.
        """
        for _ in range(1 if hangs else 6):
            try:
                return self._ask(request, wait)
            except (TimeoutError, ConnectionError, urllib.error.URLError):
                self._server.restart()
        if not hangs:
            raise AssertionError("the real server ends or hangs at this request, every time")
        return ["(no final response)"]

    def _ask(self, request: InferRequest, wait: float) -> list[Answer]:
        if "decoupled" in request.model_name:
            return self._stream(request, wait)
        header: dict[str, Any] = {
            "id": request.id,
            "inputs": [
                {
                    "name": t.name,
                    "datatype": t.datatype,
                    "shape": list(t.shape),
                    "parameters": {"binary_data_size": len(t.data)},
                }
                for t in request.inputs
            ],
            "parameters": {**dict(request.parameters), **_sequence(request), "binary_data_output": True},
        }
        if request.timeout:
            header["parameters"]["timeout"] = request.timeout
        if request.outputs:
            header["outputs"] = [
                {"name": o.name, "parameters": {"binary_data": True}} for o in request.outputs
            ]
        head = json.dumps(header).encode()
        body = head + b"".join(bytes(t.data) for t in request.inputs)
        status, headers, answer = self._post(
            f"/v2/models/{request.model_name}/infer",
            body,
            {"Inference-Header-Content-Length": str(len(head))},
            wait,
        )
        if status != 200:
            return [json.loads(answer)["error"]]
        length = int(headers.get("Inference-Header-Content-Length", len(answer)))
        document, at = json.loads(answer[:length]), length
        outputs = []
        for output in document.get("outputs", []):
            size = output["parameters"]["binary_data_size"]
            shape = tuple(output["shape"])
            outputs.append((output["name"], output["datatype"], shape, answer[at : at + size]))
            at += size
        return [outputs]

    def _stream(self, request: InferRequest, wait: float) -> list[Answer]:
        body = {t.name: [e.decode() for e in t.array.tolist()] for t in request.inputs} | dict(
            request.parameters
        )
        if request.id:
            body["id"] = request.id
        answers: list[Answer] = []
        path = f"/v2/models/{request.model_name}/generate_stream"
        _, _, answer = self._post(path, json.dumps(body).encode(), {}, wait)
        for event in answer.split(b"\n\n")[:-1]:
            said = json.loads(event.removeprefix(b"data: "))
            if "error" in said:
                answers.append(said["error"])
                continue
            outputs: list[tuple[str, str, tuple[int, ...], bytes]] = []
            for name, value in said.items():
                if name not in ("model_name", "model_version", "id"):
                    values = value if isinstance(value, list) else [value]
                    data = b"".join(struct.pack("<I", len(v.encode())) + v.encode() for v in values)
                    outputs.append((name, "BYTES", (len(values),), data))
            answers.append(outputs)
        return answers

    def _post(self, path: str, body: bytes, headers: dict[str, str], wait: float) -> tuple[int, Any, bytes]:
        request = urllib.request.Request(
            self._server.http_url + path, data=body, headers=headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=wait) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()


def index_reasons(url: str) -> dict[str, str]:
    """The reasons of the repository index why models failed to load, by name; "" for those that did load."""
    request = urllib.request.Request(url + "/v2/repository/index", data=b"", method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return {row["name"]: row.get("reason", "") for row in json.loads(answer.read())}


def configs(url: str) -> dict[str, Any]:
    """The configuration of each model, by name; for one that failed to load the reason."""
    found: dict[str, Any] = dict(index_reasons(url))
    for name, reason in found.items():
        if not reason:
            with urllib.request.urlopen(f"{url}/v2/models/{name}/config", timeout=30) as answer:
                found[name] = json.loads(answer.read())
    return found


def _sequence(request: InferRequest) -> dict[str, Any]:
    if not request.sequence_id:
        return {}
    return {
        "sequence_id": request.sequence_id,
        "sequence_start": request.sequence_start,
        "sequence_end": request.sequence_end,
    }


def case(
    code: str, *inputs: Tensor, model: str = "lab", outputs: Sequence[str] = (), **fields: Any
) -> InferRequest:
    """A request to a lab model to run `code`, which defines `execute(requests)`."""
    return InferRequest(
        model,
        inputs=[text_input("CODE", code), *inputs],
        outputs=[RequestedOutput(name, binary=True) for name in outputs],
        **fields,
    )
