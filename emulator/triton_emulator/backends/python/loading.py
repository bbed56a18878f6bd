"""Loads a version of a Python model: finds its file and starts its instances."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from triton_emulator.backends.python.executor import InstanceThread, PythonExecutor
from triton_emulator.backends.python.instance import Instance
from triton_emulator.backends.python.metrics import MetricRegistry
from triton_emulator.backends.python.server import Server
from triton_emulator.engine.executor import LoadError, ModelDefinition
from triton_emulator.repository.config.to_json import config_json
from triton_emulator.repository.schema import enum_name


@dataclass(frozen=True, slots=True)
class Hooks:
    """What Python models need from the server.

    Without `server`, a model can neither run other models (BLS) nor load them. `metrics` holds the metrics that models
    define.
    """

    server: Server | None = None
    metrics: MetricRegistry = field(default_factory=MetricRegistry)


def load(definition: ModelDefinition, hooks: Hooks | None = None) -> PythonExecutor:
    """Load a version: each instance imports model.py and calls `initialize`, on a thread of its own.

    Raises LoadError with Triton's reason ("Internal: ValueError: ...").
    """
    hooks = hooks or Hooks()
    _refuse_environment(definition)
    file = model_file(definition)
    threads: list[InstanceThread] = []
    instances: list[Instance] = []
    try:
        for name, kind in _instance_names(definition):
            threads.append(InstanceThread(name))
            args = _initialize_args(definition, name, kind)
            instances.append(threads[-1].call(_starter(definition, name, file, args, hooks)))
    except LoadError:
        PythonExecutor(definition.config, instances, threads[: len(instances)]).finalize()
        threads[-1].stop()
        raise
    return PythonExecutor(definition.config, instances, threads)


def model_file(definition: ModelDefinition) -> Path:
    """The version's Python file. Raises LoadError if there is none; the real server hangs at its start then."""
    name = definition.config.proto.default_model_filename or "model.py"
    file = definition.version_directory / name
    if not name.endswith(".py"):
        raise LoadError(f"Internal: Model name must end with '.py'. Model name is \"{name}\".")
    if not file.is_file():
        raise LoadError(f"Internal: Python model file not found in '{file}'")
    return file


def _starter(
    definition: ModelDefinition, name: str, file: Path, args: dict[str, str], hooks: Hooks
) -> Callable[[], Instance]:
    def start() -> Instance:
        instance = Instance(definition, name, file, hooks.server, hooks.metrics)
        instance.initialize(args)
        return instance

    return start


def _refuse_environment(definition: ModelDefinition) -> None:
    environment = definition.config.parameters.get("EXECUTION_ENV_PATH")
    if environment:
        raise LoadError(
            f"Unsupported: EXECUTION_ENV_PATH '{environment}' of model '{definition.name}' is not supported: "
            "Python models run in the interpreter of the emulator, install what the model imports there and remove "
            "the parameter"
        )


def _instance_names(definition: ModelDefinition) -> list[tuple[str, str]]:
    """The (name, kind) of every instance, in order."""
    rows = []
    for group in definition.config.proto.instance_group:
        kind = enum_name(group, "kind").removeprefix("KIND_")
        rows += [(f"{group.name}_{number}", kind) for number in range(max(group.count, 1))]
    return rows or [(f"{definition.name}_0", "CPU")]


def _initialize_args(definition: ModelDefinition, name: str, kind: str) -> dict[str, str]:
    return {
        "model_config": config_json(definition.config.proto).decode(),
        "model_instance_kind": kind,
        "model_instance_name": name,
        "model_instance_device_id": "0",
        "model_repository": str(definition.directory),
        "model_version": str(definition.version),
        "model_name": definition.name,
    }
