"""Loads a version of a Python model: finds its file, completes its configuration, starts its instances."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from triton_emulator.backends.python.executor import InstanceThread, PythonExecutor
from triton_emulator.backends.python.instance import Instance
from triton_emulator.engine.model import LoadError, ModelDefinition
from triton_emulator.repository.config_json import config_json
from triton_emulator.repository.model_config import ModelConfig


class Complete(Protocol):
    """Takes over what a model's `auto_complete_config` made of its configuration.

    Gets the definition and the completed configuration as JSON; returns the configuration to load with. Raises
    LoadError where the two do not go together.
    """

    def __call__(self, definition: ModelDefinition, completed: dict[str, Any]) -> ModelConfig: ...


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a Python model needs of the server around it."""

    complete: Complete | None = None
    auto_complete: bool = field(default=True)


_KINDS = {0: "AUTO", 1: "GPU", 2: "CPU", 3: "MODEL"}


def load(definition: ModelDefinition, hooks: Hooks | None = None) -> PythonExecutor:
    """Load a version: import model.py and initialise every instance, each on its own thread.

    Raises LoadError with Triton's reason ("Internal: ValueError: ...").
    """
    hooks = hooks or Hooks()
    _refuse_environment(definition)
    file = model_file(definition)
    if hooks.auto_complete:
        definition = _auto_completed(definition, file, hooks)
    groups = _instance_groups(definition)
    threads: list[InstanceThread] = []
    instances: list[Instance] = []
    try:
        for name, kind, device in groups:
            thread = InstanceThread(name)
            threads.append(thread)
            args = _initialize_args(definition, name, kind, device)
            instances.append(thread.call(lambda name=name, args=args: _started(definition, name, file, args)))
    except LoadError:
        for instance, thread in zip(instances, threads, strict=False):
            thread.call(instance.finalize)
        for thread in threads:
            thread.stop()
        raise
    return PythonExecutor(definition.config, instances, threads)


def _started(definition: ModelDefinition, name: str, file: Path, args: dict[str, str]) -> Instance:
    instance = Instance(definition, name, file)
    try:
        instance.initialize(args)
    except LoadError:
        instance.space.close()
        raise
    return instance


def _refuse_environment(definition: ModelDefinition) -> None:
    environment = definition.config.parameters.get("EXECUTION_ENV_PATH")
    if environment:
        raise LoadError(
            f"Unsupported: EXECUTION_ENV_PATH '{environment}' of model '{definition.name}' is not supported: "
            "Python models run in the interpreter of the emulator, install what the model imports there and remove "
            "the parameter"
        )


def model_file(definition: ModelDefinition) -> Path:
    name = definition.config.proto.default_model_filename or "model.py"
    file = definition.version_directory / name
    if not name.endswith(".py"):
        raise LoadError(f"Internal: Model name must end with '.py'. Model name is \"{name}\".")
    if not file.is_file():
        raise LoadError(f"Internal: Python model file not found in '{file}'")
    return file


def _auto_completed(definition: ModelDefinition, file: Path, hooks: Hooks) -> ModelDefinition:
    probe = Instance(definition, f"{definition.name}", file)
    try:
        completed = probe.auto_complete(config_json(definition.config.proto).decode())
    finally:
        probe.space.close()
    if completed is None or hooks.complete is None:
        return definition
    return replace(definition, config=hooks.complete(definition, completed))


def _instance_groups(definition: ModelDefinition) -> list[tuple[str, str, int]]:
    """(name, kind, device) of every instance."""
    rows = []
    for group in definition.config.proto.instance_group:
        for number in range(max(group.count, 1)):
            rows.append((f"{group.name}_{number}", _KINDS.get(group.kind, "CPU"), 0))
    return rows or [(f"{definition.name}_0", "CPU", 0)]


def _initialize_args(definition: ModelDefinition, name: str, kind: str, device: int) -> dict[str, str]:
    return {
        "model_config": config_json(definition.config.proto).decode(),
        "model_instance_kind": kind,
        "model_instance_name": name,
        "model_instance_device_id": str(device),
        "model_repository": str(definition.directory),
        "model_version": str(definition.version),
        "model_name": definition.name,
    }
