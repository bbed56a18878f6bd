"""Loads a version of a Python model: finds its file, completes its configuration and starts its instances."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from triton_emulator.backends.python.binding import as_python
from triton_emulator.backends.python.environments import (
    Environments,
    tell,
    told_where_to_install,
    without_environment,
)
from triton_emulator.backends.python.executor import InstanceThread, ModelInstance, PythonExecutor
from triton_emulator.backends.python.instance import Instance
from triton_emulator.backends.python.metrics import MetricRegistry
from triton_emulator.backends.python.plan import InstancePlan
from triton_emulator.backends.python.server import Server
from triton_emulator.backends.python.stub.instance import StubInstance
from triton_emulator.engine.executor import LoadError, ModelDefinition
from triton_emulator.repository.config.raw_text import as_shown, to_text
from triton_emulator.repository.config.to_json import config_json
from triton_emulator.repository.schema import enum_name


@dataclass(frozen=True, slots=True)
class Hooks:
    """What Python models need from the server.

    Without `server`, a model can neither run other models (BLS) nor load them. `metrics` holds the metrics that models
    define. `process_per_model`: each instance runs in a process of its own, unless the model's settings say otherwise.
    `told` are the models of which the log says already that they change what all models share.
    """

    server: Server | None = None
    metrics: MetricRegistry = field(default_factory=MetricRegistry)
    process_per_model: bool = False
    environments: Environments = field(default_factory=Environments)
    told: set[str] = field(default_factory=set)


def load(definition: ModelDefinition, hooks: Hooks | None = None) -> PythonExecutor:
    """Load a version: each instance imports model.py and calls `initialize`, on a thread or in a process of its own.

    Raises LoadError with Triton's reason ("Internal: ValueError: ...").
    """
    hooks = hooks or Hooks()
    file = model_file(definition)
    with _maker(definition, hooks) as make:
        executor = _start(definition, file, make)
    if not _has_process(definition, hooks):
        tell(definition)
    return executor


def auto_complete(definition: ModelDefinition, hooks: Hooks | None = None) -> dict[str, Any] | None:
    """The configuration that the model's `auto_complete_config` completes; None if model.py has no such function.

    Imports model.py only for this, as Triton does. Raises LoadError with Triton's reason.
    """
    hooks = hooks or Hooks()
    plan = InstancePlan.of(definition, definition.name, model_file(definition))
    _check_stub_name(definition.name, definition)
    thread = InstanceThread(definition.name)  # the model may ask for the event loop while it is imported
    try:
        with _maker(definition, replace(hooks, server=None, metrics=MetricRegistry())) as make:
            completed: dict[str, Any] | None = thread.call(partial(_completed, definition, make, plan))
            return completed
    finally:
        thread.stop()


def _completed(
    definition: ModelDefinition, make: Callable[[InstancePlan], ModelInstance], plan: InstancePlan
) -> dict[str, Any] | None:
    probe = make(plan)
    try:
        return probe.auto_complete(lambda: config_json(definition.config.proto).decode())
    finally:
        probe.close()


@contextmanager
def _maker(definition: ModelDefinition, hooks: Hooks) -> Iterator[Callable[[InstancePlan], ModelInstance]]:
    """What makes the instances of a model."""
    if _has_process(definition, hooks):
        interpreter = hooks.environments.interpreter(definition)
        with told_where_to_install(definition, interpreter.python):
            yield lambda plan: StubInstance(plan, *interpreter, hooks.server, hooks.metrics)
    else:
        with without_environment(definition), told_where_to_install(definition, sys.executable):
            yield lambda plan: Instance(plan, hooks.server, hooks.metrics, told=hooks.told)


def _has_process(definition: ModelDefinition, hooks: Hooks) -> bool:
    return bool(definition.settings.get("own_process", hooks.process_per_model))


def _start(
    definition: ModelDefinition, file: Path, make: Callable[[InstancePlan], ModelInstance]
) -> PythonExecutor:
    places = _places(definition)
    threads: list[InstanceThread] = []
    instances: list[ModelInstance] = []
    try:
        for place in places:
            _check_stub_name(place.name, definition)
            plan = InstancePlan.of(definition, place.name, file)
            threads.append(InstanceThread(place.name))
            args = _initialize_args(definition, place)
            instances.append(threads[-1].call(partial(_initialized, make, plan, args)))
    except LoadError:
        PythonExecutor(definition.config, instances, threads[: len(instances)]).finalize()
        for thread in threads[len(instances) :]:
            thread.stop()
        raise
    rules = definition.rules

    def renew(number: int) -> ModelInstance:
        plan = InstancePlan.of(definition, places[number].name, file)
        return _initialized(make, plan, _initialize_args(definition, places[number]))

    renews = rules.dead_stubs_restart and not definition.config.decoupled
    return PythonExecutor(
        definition.config,
        instances,
        threads,
        checks_strings=rules.backend_checks_strings,
        renew=renew if renews else None,
    )


def _check_stub_name(name: str, definition: ModelDefinition) -> None:
    """The name of a stub process: that of the instance, or of the model where it completes the config."""
    if definition.rules.stub_names_checked and not _NOT_IN_NAMES.isdisjoint(name):
        raise LoadError("Invalid argument: Invalid stub name: contains invalid characters")


def _initialized(
    make: Callable[[InstancePlan], ModelInstance], plan: InstancePlan, args: dict[str, str]
) -> ModelInstance:
    instance = make(plan)
    instance.initialize(args)
    return instance


def model_file(definition: ModelDefinition) -> Path:
    """The version's Python file. Raises LoadError if there is none; the real server hangs at its start then."""
    config = definition.config
    # `behaviour: python` runs the model.py of a model of another backend
    name = (as_shown(config.proto.default_model_filename) if config.backend == "python" else "") or "model.py"
    file = definition.version_directory / name
    if not name.endswith(".py"):
        raise LoadError(f"Internal: Model name must end with '.py'. Model name is \"{name}\".")
    if not file.is_file():
        asked = definition.settings.get("behaviour") == "python" and config.backend != "python"
        why = ", which behaviour 'python' in emulator.yaml runs" if asked else ""
        raise LoadError(f"Internal: Python model file not found in '{file}'{why}")
    return file


#: what a shell would take for something else
_NOT_IN_NAMES = frozenset(";|&$`<>()[]{}\\\"'*?~#!")


class _Place(NamedTuple):
    """What an instance is told of itself: its name, what it runs on and the number of its GPU, 0 without one."""

    name: str
    kind: str
    device: int


def _places(definition: ModelDefinition) -> list[_Place]:
    """The place of every instance, in order. A group on several GPUs has its count of instances on each of them.

    Raises LoadError for a group whose name Python cannot hold.
    """
    places = []
    for group in definition.config.proto.instance_group:
        try:
            name = as_python(to_text(group.name))
        except UnicodeDecodeError as error:
            raise LoadError(f"Internal: UnicodeDecodeError: {error}") from None
        kind = enum_name(group, "kind").removeprefix("KIND_")
        # A GPU is simulated for clients. The model's code is told what it runs on, so that it puts no tensor on a
        # device that is not there.
        told, devices = ("CPU", group.gpus) if kind == "GPU" else (kind, (0,))
        places += [
            _Place(f"{name}_{number}", told, device)
            for number in range(max(group.count, 1))
            for device in devices
        ]
    return places or [_Place(f"{definition.name}_0", "CPU", 0)]


def _initialize_args(definition: ModelDefinition, place: _Place) -> dict[str, str]:
    return {
        "model_config": config_json(definition.config.proto).decode(),
        "model_instance_kind": place.kind,
        "model_instance_name": place.name,
        "model_instance_device_id": str(place.device),
        "model_repository": str(definition.directory),
        "model_version": str(definition.version),
        "model_name": definition.name,
    }
