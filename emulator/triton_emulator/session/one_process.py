"""What is right in one process only, and is refused where several serve the same models (`--workers`).

Each process would have a state of its own where there is to be one, and a request reaches one of them. What cannot be
told from flags is here: models, the sections of `emulator.yaml`, and requests that change something. `workers.refusals`
has the flags.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from triton_emulator.backends.standins import FILE_NAME, ModelSettings
from triton_emulator.backends.standins.measured import Measured
from triton_emulator.engine.executor import LoadError, ModelDefinition
from triton_emulator.protocol.errors import TritonError, unsupported
from triton_emulator.settings import Settings
from triton_emulator.yaml_nodes import SettingsError, line_of

#: a change by a request, and what to write in its place
Change = tuple[str, str]
LOG_CHANGE: Change = (
    "a change of the log's settings",
    "start with --log-verbose and the other flags of the log",
)
TRACE_CHANGE: Change = ("a change of trace settings", "start with --trace-config")
MODEL_CHANGE: Change = ("a load or unload of a model", "name the models at the start, with --load-model")
SHARED_MEMORY: Change = ("a region of shared memory", "send the tensors in the requests")


@dataclass(frozen=True, slots=True)
class _Need:
    """A reason why a model needs one process: whether it applies, the reason itself, and what to write instead."""

    applies: Callable[[ModelDefinition], bool]
    cause: str
    fix: str


def _has(field: str) -> Callable[[ModelDefinition], bool]:
    return lambda definition: bool(definition.config.proto.HasField(field))


def _preserves_ordering(definition: ModelDefinition) -> bool:
    batching = definition.config.proto.dynamic_batching
    return bool(batching.preserve_ordering) and definition.rules.preserves_ordering


def _limits_steps(definition: ModelDefinition) -> bool:
    ensemble = definition.config.proto.ensemble_scheduling
    # older versions do not have the field
    return bool(getattr(ensemble, "max_inflight_requests", 0))


def _measured_by_load(definition: ModelDefinition) -> bool:
    settings = definition.settings
    measured = settings.get("latency_from")
    return isinstance(measured, Measured) and len(measured.whole) > 1 and "delay_ms" not in settings


_NEEDS = (
    _Need(
        _has("sequence_batching"),
        "it has sequence_batching, and the requests of a sequence would reach several processes",
        "leave sequence_batching out",
    ),
    _Need(
        _preserves_ordering,
        "its dynamic_batching has preserve_ordering, and each process would keep its own order",
        "leave preserve_ordering out",
    ),
    _Need(
        _limits_steps,
        "its ensemble_scheduling has max_inflight_requests, and each process would allow so many",
        "leave max_inflight_requests out",
    ),
    _Need(
        lambda definition: "slots" in definition.settings,
        f"it has 'slots' in {FILE_NAME}, and each process would have so many",
        "leave 'slots' out",
    ),
    _Need(
        _measured_by_load,
        f"'latency_from' in {FILE_NAME} has a latency for each number of requests at a time, and a process sees only "
        "its part of them",
        "give it a file with one row",
    ),
)
_PYTHON = _Need(
    lambda _: True,
    "it runs a model.py, and each process would have the state of its own",
    f"give it a behaviour in {FILE_NAME}, so that a stand-in answers",
)


def check_model(definition: ModelDefinition, settings: Settings, *, runs_python: bool) -> None:
    """Raise LoadError for a model that several processes cannot serve, where several do."""
    if settings.workers == 1:
        return
    for need in (*((_PYTHON,) if runs_python else ()), *_NEEDS):
        if need.applies(definition):
            raise LoadError(
                f"Unsupported: model '{definition.name}' cannot be served by {settings.workers} processes: "
                f"{need.cause}; {need.fix}, or serve it with --workers=1"
            )


def check_files(files: Iterable[ModelSettings], settings: Settings) -> None:
    """Raise SettingsError for sections of files that several processes cannot keep, where several serve."""
    if settings.workers == 1:
        return
    for file in files:
        for section, node in file.others.items():
            raise SettingsError(
                file.path,
                line_of(node),
                f"'{section}' cannot be with --workers={settings.workers}, as each process would count for itself how "
                "often each of them is used; leave the section out, or serve with --workers=1",
            )


def one_of_several(settings: Settings, change: str, instead: str) -> TritonError:
    """The refusal of a request that would change one process alone; `instead` is what to write."""
    return unsupported(
        f"{change} would reach one of {settings.workers} processes (--workers={settings.workers}); {instead}, or serve "
        "with --workers=1"
    )
