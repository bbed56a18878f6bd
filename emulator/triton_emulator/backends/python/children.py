"""Processes that a model starts: they are the model's own, none of them goes on as a server.

Theory of operation. Triton runs a model in a process of its own, which may fork or spawn others. Here the model's
process is the server's.

- A *forked* child is a copy of the server with one thread, the one that forked. That thread's model becomes resident,
  since pickle finds a function by the name of its module, and two models may have modules of one name. When the model's
  code returns to the server's in the child, the child ends: the calls that it knows of are answered by its parent.
- A *spawned* child is a new interpreter. Its path is made as that of the model: with the model's folders, and with a
  folder in which it finds `triton_python_backend_utils`. The program that serves is not imported as its main
  module.

Which model starts a process is told by the code on the stack. A pool of processes replaces its workers on a thread of
its own; its model is known by the queue that all its workers share.

The server's ports and signals are let go by those who hold them (`server.forks`, `cli.foreground`).
"""

import multiprocessing.spawn
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Protocol

from triton_emulator.backends.python.modules import Space, let_go_after_fork

#: a folder with what a spawned child of a model imports as `triton_python_backend_utils`
_UTILS = str(Path(__file__).with_name("spawned"))


class Parent(Protocol):
    """Something that runs a model's code, which may fork."""

    def end_as_child(self) -> None: ...


# The interpreter has one list of functions to call after a fork, and one `multiprocessing`, for all models together.
_PARENTS: "weakref.WeakSet[Parent]" = weakref.WeakSet()
#: the space of those who started a pool, by the pool's queue
_POOLS: "weakref.WeakKeyDictionary[Any, Space]" = weakref.WeakKeyDictionary()
_FORKING = threading.local()


def watch(parent: Parent) -> None:
    """Call `end_as_child` in each process that is forked from now on."""
    _PARENTS.add(parent)
    _install()


@cache
def _install() -> None:
    os.register_at_fork(before=_note, after_in_child=_begin_child)
    original = multiprocessing.spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        space, data = _starting_space(), original(name)
        return data if space is None else _of_model(space, data)

    multiprocessing.spawn.get_preparation_data = get_preparation_data


def block_around_forks(numbers: Iterable[int], let_go: Callable[[], None]) -> None:
    """From now on call `let_go` in each forked process before one of these signals can arrive there.

    A signal that comes between the fork and that call waits for it. The thread that forks has its own mask back then.
    """
    masks = threading.local()

    def block() -> None:
        masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def restore() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    def begin_child() -> None:
        let_go()
        restore()

    os.register_at_fork(before=block, after_in_parent=restore, after_in_child=begin_child)


def leave(error: BaseException | None = None) -> NoReturn:
    """End a forked child whose model's code has returned, or raised `error`, as an interpreter ends then."""
    code = error.code if isinstance(error, SystemExit) else int(error is not None)
    if not isinstance(error, SystemExit | None):
        sys.excepthook(type(error), error, error.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the model may have closed or replaced it
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _of_model(space: Space, data: dict[str, Any]) -> dict[str, Any]:
    """What a spawned child of a model has to know, made from what one of this process would have to."""
    kept = {key: value for key, value in data.items() if not key.startswith("init_main_")}
    return {**kept, "sys_path": space.path_of_child(_UTILS)}


def _note() -> None:
    _FORKING.space = _starting_space()


def _begin_child() -> None:
    let_go_after_fork(_FORKING.space)
    for parent in _PARENTS:
        parent.end_as_child()


def _starting_space() -> Space | None:
    """The space of the model that starts a process on this thread; None for the program around the emulator."""
    space, queue = None, None
    for frame in _frames(sys._getframe(1)):
        space = Space.of(frame)
        if space is not None:
            break
        process = frame.f_locals.get("process_obj") if frame.f_code.co_name == "_launch" else None
        if isinstance(process, BaseProcess):
            queue = _queue_of(process)
    if queue is None:
        return space
    return _POOLS.setdefault(queue, space) if space is not None else _POOLS.get(queue)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _queue_of(process: BaseProcess) -> Any:
    """The first argument of a process if it can be told apart from others: a worker of a pool gets the pool's queue."""
    arguments: tuple[Any, ...] = getattr(process, "_args", ())
    first = arguments[0] if arguments else None
    return (
        first if type(first).__module__ in {"multiprocessing.queues", "concurrent.futures.process"} else None
    )
