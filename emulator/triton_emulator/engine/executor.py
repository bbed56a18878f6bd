"""What a backend gets of a model version (its definition) and what it makes of it (an executor)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from triton_emulator.engine.call import Call
from triton_emulator.protocol.personality import DEFAULT_VERSION, Personality, personality

if TYPE_CHECKING:  # a stub process imports this module, and has no protobuf
    from triton_emulator.repository.config.model_config import ModelConfig


@dataclass(frozen=True, slots=True)
class ModelDefinition:
    """One version of a model, as found in a repository, before a backend has loaded it.

    `directory` is the model's folder (`<repository>/<name>`); the version's files are in `directory / str(version)`.
    `settings` is the model's entry of `emulator.yaml`, empty where there is none. `rules` are the emulated version's.
    `namespace` is the repository's path with `--model-namespacing`, else empty.
    """

    name: str
    version: int
    config: "ModelConfig"
    directory: Path
    settings: dict[str, object] = field(default_factory=dict)
    rules: Personality = personality(DEFAULT_VERSION)  # noqa: RUF009  (a frozen value)
    namespace: str = ""

    @property
    def version_directory(self) -> Path:
        return self.directory / str(self.version)


class LoadError(Exception):
    """A model version cannot be loaded.

    The message is what Triton prints as its status's reason, as in "Internal: RuntimeError: cannot init".
    """


class Executor(Protocol):
    """What a backend makes of one model version. One is made per loaded version.

    One without `start_worker` answers at once and never blocks: it runs on the event loop.
    """

    @property
    def instances(self) -> int: ...

    def execute(self, calls: Sequence[Call], instance: int) -> None:
        """Run the calls and respond to each of them; a failure is a response with `error` set, never an exception."""

    def finalize(self) -> None:
        """Release what the version holds; called once, after its last execution, never on the event loop."""


@runtime_checkable
class ThreadedExecutor(Executor, Protocol):
    """One whose `execute` may block. The scheduler runs a worker per instance, on the thread that the instance owns."""

    def on_reschedule(self, again: Callable[[Call], None]) -> None:
        """Call `again`, on that thread, for each request that the model wants to be executed once more."""

    def start_worker(self, instance: int, loop: Callable[[], None]) -> None:
        """Run `loop`, which calls `execute` until it is told to end, on the thread of that instance."""
