"""One instance of a Python model: its modules, its `TritonPythonModel` object, and the calls into them."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from time import time_ns
from types import ModuleType
from typing import Any

from triton_emulator.backends.python import objects, triton_python_backend_utils
from triton_emulator.backends.python.failure import describe
from triton_emulator.backends.python.modules import Space
from triton_emulator.backends.python.objects import InferenceResponse, TritonModelException
from triton_emulator.backends.python.requests import (
    InferenceRequest,
    InferenceResponseSender,
    failure,
    wire_response,
)
from triton_emulator.engine.model import Call, LoadError, ModelDefinition
from triton_emulator.protocol.errors import internal

#: what a model's copy of triton_python_backend_utils gains after model.py has been imported
_LATE = (
    "InferenceRequest",
    "InferenceResponse",
    "PreferredMemory",
    "TRITONSERVER_MEMORY_CPU",
    "TRITONSERVER_MEMORY_GPU",
    "Tensor",
    "TritonError",
    "TritonModelException",
)
_C_MEMBERS: dict[str, Any] = {
    "InferenceRequest": InferenceRequest,
    "InferenceResponse": InferenceResponse,
    "InferenceResponseSender": InferenceResponseSender,
    "InferenceTrace": objects.InferenceTrace,
    "MemoryType": objects.MemoryType,
    "MetricKind": objects.MetricKind,
    "PreferredMemory": objects.PreferredMemory,
    "TRITONSERVER_MEMORY_CPU": objects.MemoryType.TRITONSERVER_MEMORY_CPU,
    "TRITONSERVER_MEMORY_GPU": objects.MemoryType.TRITONSERVER_MEMORY_GPU,
    "Tensor": objects.Tensor,
    "TritonError": objects.TritonError,
    "TritonModelException": TritonModelException,
}


class Instance:
    """A `TritonPythonModel` object with a module space of its own.

    `name` is the instance's name ("<group>_<number>"), which error texts carry. Raises LoadError where model.py cannot
    be imported.
    """

    def __init__(self, definition: ModelDefinition, name: str, file: Path) -> None:
        self.name = name
        self._file = file
        self._model: Any = None
        self._decoupled = definition.config.decoupled
        self._outputs = frozenset(spec.name for spec in definition.config.outputs)
        self._utils = ModuleType("triton_python_backend_utils")
        for key, value in vars(triton_python_backend_utils).items():
            if not key.startswith("__") or key in ("__file__", "__doc__"):
                setattr(self._utils, key, value)
        members = ModuleType("c_python_backend_utils")
        members.__dict__.update(_C_MEMBERS)
        self.space = Space(
            (definition.version_directory, definition.directory),
            {"triton_python_backend_utils": self._utils, "c_python_backend_utils": members},
        )
        module_name = f"{file.parent.name}.{file.stem}"
        self._class = self._loading(lambda: self.space.import_module(module_name).TritonPythonModel)
        for key in _LATE:
            setattr(self._utils, key, members.__dict__[key])
        self._utils.get_model_dir = lambda: str(file.parent)  # type: ignore[attr-defined]

    def auto_complete(self, config_json: str) -> dict[str, Any] | None:
        """The configuration that the model's `auto_complete_config` returns, None where it has no such function."""
        if not hasattr(self._class, "auto_complete_config"):
            return None
        config = triton_python_backend_utils.ModelConfig(config_json)
        returned = self._loading(lambda: self._class.auto_complete_config(config))
        if not isinstance(returned, triton_python_backend_utils.ModelConfig):
            raise LoadError(
                "Internal: auto_complete_config function in model "
                f"'{config.as_dict()['name']}' must return a valid pb.ModelConfig object."
            )
        return returned.as_dict()

    def initialize(self, args: dict[str, str]) -> None:
        """Make the model object and initialise it. Raises LoadError with Triton's text where the model raises."""

        def start() -> None:
            self._model = self._class()
            if hasattr(self._model, "initialize"):
                self._model.initialize(args)

        self._loading(start)

    def _loading(self, step: Callable[[], Any]) -> Any:
        def enter_model() -> Any:
            return step()

        try:
            return enter_model()
        except BaseException as error:  # noqa: BLE001 sys.exit() in a model must not end the server
            raise LoadError(f"Internal: {describe(error)}") from None

    def execute(self, calls: Sequence[Call]) -> None:
        """Run the model over the calls and answer them."""
        now = time_ns()
        received = InferenceRequest.received
        requests = []
        for call in calls:
            call.compute_start_ns = now
            requests.append(received(call, self._outputs, decoupled=self._decoupled))
            call.compute_input_end_ns = now
        try:
            answers = self.enter_model(requests)
            now = time_ns()
            for call in calls:
                call.compute_output_start_ns = now
            if answers is not None:
                answers = self._checked(answers, requests)
        except BaseException as error:  # noqa: BLE001 sys.exit() in a model must not end the server
            self._fail(calls, error)
            return
        now = time_ns()
        for call in calls:
            call.compute_end_ns = now
        if answers is None:
            return
        for call, answer in zip(calls, answers, strict=True):
            if answer is not None:
                call.respond(answer, final=True)

    def enter_model(self, requests: list[InferenceRequest]) -> Any:
        """Call the model; the frames of an error text end here."""
        model = self._model
        if not hasattr(model, "execute"):
            raise TritonModelException(f"Python model {self._file} does not implement `execute` method.")
        returned = model.execute(requests)
        return asyncio.run(returned) if asyncio.iscoroutine(returned) else returned

    def _checked(self, answers: Any, requests: list[InferenceRequest]) -> list[Any]:
        if self._decoupled:
            raise _Refused(
                f"Python model '{self.name}' is using the decoupled mode and the execute function must return None."
            )
        if not isinstance(answers, list):
            raise _Refused(f"Expected a list in the execute return, found type '{type(answers)}'.")
        if len(answers) != len(requests):
            raise _Refused(
                "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
                f"InferenceRequest(s) size is:{len(requests)}, and InferenceResponse(s) size is:{len(answers)}\n"
            )
        checked: list[Any] = []
        for answer, request in zip(answers, requests, strict=True):
            if answer is not None and not isinstance(answer, InferenceResponse):
                raise _Refused(
                    "Expected an 'InferenceResponse' object in the execute function return list, found type "
                    f"'{type(answer)}'."
                )
            checked.append(None if answer is None else wire_response(request, answer))
        return checked

    def _fail(self, calls: Sequence[Call], error: BaseException) -> None:
        text = str(error) if isinstance(error, _Refused) else describe(error)
        message = f"Failed to process the request(s) for model '{self.name}', message: {text}"
        now = time_ns()
        for call in calls:
            call.failed = True
            call.compute_output_start_ns = call.compute_output_start_ns or now
            call.compute_end_ns = now
            if not call.finished:
                call.respond(failure(call, internal(message)), final=True)

    def finalize(self) -> None:
        """Let the model clean up, then forget its modules."""
        model, self._model = self._model, None
        if model is not None and hasattr(model, "finalize"):
            try:
                model.finalize()
            except BaseException as error:  # noqa: BLE001 2.51: an error here is only logged
                print(describe(error), flush=True)  # noqa: T201
        self.space.close()


class _Refused(Exception):  # noqa: N818
    """The backend's own complaint about what `execute` returned; its text is shown without a type or frames."""
