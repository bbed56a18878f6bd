"""What a server would serve: its models are loaded as at a start, described, and unloaded. No port is opened."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from triton_emulator.backends import standins
from triton_emulator.engine.loaded_model import LoadedModel
from triton_emulator.frontends.threads import run_in_thread
from triton_emulator.harness.cassettes.reading import CassetteError
from triton_emulator.protocol.errors import TritonError
from triton_emulator.repository.config.model_config import TensorSpec
from triton_emulator.repository.repository import ModelFailure
from triton_emulator.repository.schema import enum_name
from triton_emulator.repository.version_life import Served
from triton_emulator.server.options_table import answers
from triton_emulator.server.server import FINALIZE_SECONDS, UNLOAD_SECONDS, described
from triton_emulator.session import log
from triton_emulator.session.state import SessionState
from triton_emulator.settings import Settings
from triton_emulator.yaml_nodes import SettingsError

LOADS, FAILS, NOT_LOADED = "loads", "fails", "not_loaded"


@dataclass(frozen=True, slots=True)
class CheckedTensor:
    """An input or output; `shape` is as in the model's metadata, -1 for a variable dimension, the batch first."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A version of a model. All attributes after `path` are empty unless `status` is "loads".

    `status` is "loads", "fails", or "not_loaded" for a model that the mode explicit leaves out. `version` is None where
    no version was reached. `namespace` is empty without `--model-namespacing`. `reason` and `path` say why a model
    fails, and which file or folder it is about; `path` is the version's folder for one that loads. `runs_as` is
    "python", "ensemble" or "stand-in", `behaviour` that of a stand-in. `simulated_gpus` are numbers of GPUs.
    """

    name: str
    status: str
    version: int | None = None
    namespace: str = ""
    reason: str = ""
    path: str | None = None
    backend: str = ""
    platform: str = ""
    runs_as: str = ""
    behaviour: str = ""
    max_batch_size: int = 0
    decoupled: bool = False
    simulated_gpus: tuple[int, ...] = ()
    inputs: tuple[CheckedTensor, ...] = ()
    outputs: tuple[CheckedTensor, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a start would do: its models, by name and version, the errors that are about no model, and its warnings.

    `ok` is whether every model would be served that should be. `answers` says who answers where that is not the models
    alone: a real server or a cassette.
    """

    ok: bool
    models: Sequence[CheckedModel]
    errors: Sequence[str]
    warnings: Sequence[str]
    answers: str = ""


async def check(settings: Settings) -> CheckReport:
    """Load all models that a start would load, and unload them.

    A load is a start's, so a Python model is imported, initialized, warmed up and finalized. A cassette that is to be
    replayed is read. Raises TritonError for settings that mean nothing, CassetteError where nothing can be recorded.
    """
    state = SessionState(settings, asyncio.get_running_loop())
    models: list[CheckedModel] = []
    with _warnings() as warnings:
        try:
            error = await run_in_thread(state.start)
        except (CassetteError, OSError, SettingsError, TritonError) as fault:
            ok, errors = False, [described(fault)]
        else:
            models, errors = await run_in_thread(_outcome, state)
            ok = error is None and not errors
        await run_in_thread(state.close, UNLOAD_SECONDS, FINALIZE_SECONDS)
    # models load side by side, so their warnings have no order
    return CheckReport(
        ok, models, errors, sorted(warnings), "" if errors else answers(settings, state.player)
    )


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What the emulator warns of in its log meanwhile."""
    lines: list[str] = []

    class Note(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno == logging.WARNING:
                lines.append(record.getMessage())

    logger, note = logging.getLogger(log.ROOT), Note()
    logger.addHandler(note)
    try:
        yield lines
    finally:
        logger.removeHandler(note)


def _outcome(state: SessionState) -> tuple[list[CheckedModel], list[str]]:
    """The models of a session that has started, and the errors that are about none of them."""
    repository = state.repository
    models = [_loaded(served) for served in repository.all_served()]
    errors = []
    for failure in repository.failures():
        if failure.model:
            models.append(_failed(failure, namespacing=state.settings.model_namespacing))
        else:
            errors.append(failure.reason)
    try:
        rows = repository.index() if state.settings.loads_models else []
    except TritonError:  # a repository that cannot be read is among the failures
        rows = []
    told = {model.name for model in models}
    models += [
        CheckedModel(row.name, NOT_LOADED) for row in rows if row.state is None and row.name not in told
    ]
    return sorted(models, key=lambda model: (model.name, model.namespace, model.version or 0)), errors


def _failed(failure: ModelFailure, *, namespacing: bool) -> CheckedModel:
    namespace, _, name = failure.model.rpartition("::") if namespacing else ("", "", failure.model)
    path = None if failure.path is None else str(failure.path)
    return CheckedModel(name, FAILS, failure.version, namespace=namespace, reason=failure.reason, path=path)


def _loaded(served: Served[LoadedModel]) -> CheckedModel:
    loaded, config = served.loaded, served.config
    runs_as = "stand-in" if loaded.stands_in else "ensemble" if config.is_ensemble else "python"
    groups = [g for g in config.proto.instance_group if enum_name(g, "kind") == "KIND_GPU"]
    return CheckedModel(
        served.name,
        LOADS,
        served.version,
        namespace=served.source.namespace,
        path=str(loaded.definition.version_directory),
        backend=config.backend,
        platform=config.platform,
        runs_as=runs_as,
        behaviour=standins.behaviour(loaded.definition) if loaded.stands_in else "",
        max_batch_size=config.max_batch_size,
        decoupled=config.decoupled,
        simulated_gpus=tuple(sorted({number for group in groups for number in group.gpus})),
        inputs=_tensors(config.inputs),
        outputs=_tensors(config.outputs),
    )


def _tensors(specs: Sequence[TensorSpec]) -> tuple[CheckedTensor, ...]:
    return tuple(CheckedTensor(spec.name, spec.datatype, tuple(spec.shape), spec.optional) for spec in specs)
