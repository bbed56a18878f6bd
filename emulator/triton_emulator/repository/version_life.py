"""The life of a model version: loading, ready, unloading, unavailable.

Theory of operation
===================

A slot stands for one version of a model. It is made when the version is loaded, and it stays, for the index, when the
version has gone. Loading the version again makes a new slot. TRANSITIONS has every possible step of its life:

    LOADING --LOADED--> READY --RELEASED--> UNLOADING --ENDED--> UNAVAILABLE
       |'----------------------RELEASED-------^                      ^
       '-----------------------FAILED--------------------------------'

- LOADED: the version could be made, and so could every version that is loaded with it. Until then it stays LOADING.
- FAILED: the version could not be made. The slot keeps the reason.
- RELEASED: it is not served any more, because of an unload, because another version takes its place, or because the
  server stops. A version that could be made is also released, without ever being READY, when a version loaded with it
  fails (2.51: one takes the others along).
- ENDED: its last request is answered, and what it held is freed. The reason is then "unloaded".

`lifecycle` moves the slots, under its lock and in its threads; `control` decides what is loaded and unloaded, and in
which order. Requests read neither: they look versions up in `Lifecycle.ready`.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Generic, TypeVar

from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.config.to_json import config_json
from triton_emulator.repository.labels import Labels
from triton_emulator.repository.scanner import PolledModel

LoadedT = TypeVar("LoadedT")

#: the reason of a version that was unloaded on request; only this one does not make the server unready
UNLOADED = "unloaded"


class State(Enum):
    """The states of a model version, as the index prints them."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


class Event(Enum):
    """What moves a version from one state to the next."""

    LOADED = "loaded"
    FAILED = "failed to load"
    RELEASED = "no longer served"
    ENDED = "its last request is answered"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.LOADING: {
        Event.LOADED: State.READY,
        Event.FAILED: State.UNAVAILABLE,
        Event.RELEASED: State.UNLOADING,
    },
    State.READY: {Event.RELEASED: State.UNLOADING},
    State.UNLOADING: {Event.ENDED: State.UNAVAILABLE},
    State.UNAVAILABLE: {},
}


@dataclass(frozen=True)
class Served(Generic[LoadedT]):
    """A version that answers requests: its completed config, what the loader made of it, and where it came from.

    `labels` are the class names of its outputs, for the classification extension.
    """

    name: str
    version: int
    config: ModelConfig
    loaded: LoadedT
    source: PolledModel
    labels: Labels

    @cached_property
    def config_json(self) -> bytes:
        """The body of `GET .../config`."""
        return config_json(self.config.proto)


class Slot(Generic[LoadedT]):
    """One version of a model. `id` is the model's identifier; `served` is there from its making to its end."""

    __slots__ = ("id", "reason", "served", "state", "version")

    def __init__(self, key: str, version: int) -> None:
        self.id = key
        self.version = version
        self.state = State.LOADING
        self.reason = ""
        self.served: Served[LoadedT] | None = None

    def __repr__(self) -> str:
        reason = f": {self.reason}" if self.reason else ""
        return f"<{type(self).__name__} {self.id}:{self.version} {self.state.value}{reason}>"

    def advance(self, event: Event, reason: str = "") -> None:
        """Move on to the next state, with its reason. Raises KeyError for an event that the state does not allow."""
        self.state = TRANSITIONS[self.state][event]
        self.reason = reason
