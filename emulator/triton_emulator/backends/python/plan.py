"""What an instance of a Python model needs to know of its model: plain values, which a stub process is sent."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from triton_emulator.protocol.personality import Personality


class _Output(Protocol):
    @property
    def name(self) -> str: ...


class _Input(Protocol):
    @property
    def optional(self) -> bool: ...


class _Config(Protocol):
    @property
    def decoupled(self) -> bool: ...
    @property
    def max_batch_size(self) -> int: ...
    @property
    def inputs(self) -> Iterable[_Input]: ...
    @property
    def outputs(self) -> Iterable[_Output]: ...


class _Definition(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def config(self) -> _Config: ...
    @property
    def directory(self) -> Path: ...
    @property
    def version_directory(self) -> Path: ...
    @property
    def rules(self) -> Personality: ...


class InstancePlan(NamedTuple):
    """One instance of a version of a Python model.

    `model` is the model's name. `name` is the instance's ("<group>_<number>"), which error texts contain. `file` is its
    model.py. `folders` are the version's and the model's, which its imports look into. `outputs` are the names of the
    model's outputs.
    """

    model: str
    name: str
    file: Path
    folders: tuple[Path, Path]
    decoupled: bool
    outputs: frozenset[str]
    #: whether a request may come without any input: the model batches, and all its inputs are optional
    may_lack_inputs: bool
    #: the emulated version's
    rules: Personality

    @classmethod
    def of(cls, definition: _Definition, name: str, file: Path) -> "InstancePlan":
        config = definition.config
        return cls(
            definition.name,
            name,
            file,
            (definition.version_directory, definition.directory),
            config.decoupled,
            frozenset(spec.name for spec in config.outputs),
            config.max_batch_size > 0 and all(spec.optional for spec in config.inputs),
            definition.rules,
        )
