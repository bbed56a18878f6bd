"""The two stages in which a configuration becomes complete: its folder is read, then a version of it is loaded.

Each stage completes the config, then checks it; Triton does both in this order, and its errors come in this order. The
first stage needs the repository alone. The second one asks the model's backend, which may change the config, so what
the first one has checked is checked again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from triton_emulator.protocol.errors import Code, TritonError, internal, invalid_arg, not_found
from triton_emulator.protocol.personality import Personality
from triton_emulator.repository.config.completion import complete, complete_instance_groups, complete_runtime
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.config.platforms import PYTHON
from triton_emulator.repository.config.tensor_validation import check_tensors
from triton_emulator.repository.config.validation import check_config, check_instance_groups, check_name
from triton_emulator.repository.schema import Proto, copied

#: Completes a config as the model's backend would: changes the message it is given (see `backend_update`), knowing the
#: model's folder and the version.
CompleteConfig = Callable[[Proto, Path, int], object]


def _nothing_to_add(config: Proto, directory: Path, version: int) -> None:
    """A backend that does not complete configs."""


@dataclass(frozen=True, slots=True)
class Backends:
    """What a config's completion needs of the backends.

    `complete` is what a backend does, `complete_strictly` what is done in its place where backends may not complete.
    `exists` says whether there is a backend for a model, by its name, config and folder; `gpus` has the ids of the GPUs
    that the machine has, as far as a model (its config) sees them.
    """

    complete: CompleteConfig = _nothing_to_add
    complete_strictly: CompleteConfig = _nothing_to_add
    exists: Callable[[str, Proto, Path], bool] = lambda _, config, __: bool(config.backend)
    gpus: Callable[[Proto], Sequence[int]] = lambda _: ()


def complete_as_read(
    config: Proto, name: str, first_version: Callable[[], Path | None], *, strict: bool, rules: Personality
) -> None:
    """The first stage, in place. Raises TritonError.

    `name` is the folder's, `first_version` finds the directory whose files tell the backend (None where there is none).
    `strict` is tritonserver's `--disable-auto-complete-config`, `rules` are the emulated version's.
    """
    _refuse_agents(config)
    complete(config, name, first_version())
    check_config(config)
    if strict:
        check_tensors(config, rules)
    check_name(config, name)


def complete_to_load(
    read: Proto,
    directory: Path,
    version: int,
    backends: Backends,
    *,
    provided: bool,
    strict: bool,
    rules: Personality,
) -> ModelConfig:
    """The second stage: the config with which a version of the model in `directory` is loaded. Raises TritonError.

    `read` is the result of the first stage and stays as it is; `provided` says whether there was a config to read.
    """
    config = copied(read)
    if not (config.HasField("ensemble_scheduling") or backends.exists(config.name, config, directory)):
        raise invalid_arg(rules.no_backend.format(backend=config.backend, model=config.name))
    complete_runtime(config)
    gpus = backends.gpus(config)
    complete_instance_groups(config, gpus)
    check_instance_groups(config, gpus)
    if strict:
        backends.complete_strictly(config, directory, version)
    else:
        try:
            backends.complete(config, directory, version)
        except TritonError as error:
            # 2.51: a completion that is no configuration is dropped, if there is a config file to go on with
            if error.code is not Code.NOT_FOUND or not provided:
                raise
    # 2.51: the Python backend alone loads a model that nothing describes
    if not (provided or config.input or config.output or config.backend == PYTHON):
        raise not_found(f"model configuration is not provided for model '{config.name}'")
    check_config(config)
    check_tensors(config, rules)
    return ModelConfig.of(config)


def _refuse_agents(config: Proto) -> None:
    """No repository agent is installed with the server that is emulated, not even NVIDIA's own "checksum"."""
    for agent in config.model_repository_agents.agents:
        raise internal(f"unable to find 'libtritonrepoagent_{agent.name}.so' for repo agent '{agent.name}'")
    if config.HasField("model_repository_agents"):
        raise invalid_arg("'model_repository_agents' names no agent")  # 2.51 crashes
