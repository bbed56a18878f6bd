"""The process as a model sees it: what would end it ends only the model's instance, and what it shares is told.

A model in a process of its own may change the working directory, the environment, signal handlers and the like. Here
all models and the server have only one of each. A model's code sees copies of the modules that change them: a call does
what it always does, and is told. In a process that the model has forked, all functions do what they always do.
"""

import locale
import os
import resource
import signal
from collections.abc import Callable
from types import ModuleType
from typing import Any

Tell = Callable[[str], None]

_ENDS = ("_exit", "abort", *(name for name in dir(os) if name.startswith("exec")))
#: what a function changes that a process has only one of
_CHANGES: dict[ModuleType, dict[str, str]] = {
    os: {
        "chdir": "the working directory",
        "fchdir": "the working directory",
        "chroot": "the root folder",
        "nice": "the priority",
        "putenv": "the environment",
        "unsetenv": "the environment",
        "umask": "the mask for new files",
        **dict.fromkeys(
            ("setgid", "setegid", "setregid", "setresgid", "setgroups", "initgroups"), "the group"
        ),
        **dict.fromkeys(("setuid", "seteuid", "setreuid", "setresuid"), "the user"),
    },
    locale: {"setlocale": "the locale"},
    resource: {"setrlimit": "the limit of a resource"},
    signal: {
        "alarm": "the timer",
        "setitimer": "the timer",
        "set_wakeup_fd": "the descriptor for signals",
        "signal": "the handler of a signal, which only code on the main thread may, where no model runs",
    },
}
_CLOSES = "calls os.closerange; nothing is closed, as these are also the descriptors of the server and of other models"


def private_modules(end: Callable[[], None], tell: Tell) -> dict[ModuleType, ModuleType]:
    """The modules to use in place of those of the interpreter, by these.

    `os._exit`, `abort`, `exec*` and `kill` (of this process) call `end` and raise SystemExit, which unwinds the model's
    code. `tell` is called with the end of a sentence that begins with the model.
    """
    here = os.getpid()

    def telling(change: str) -> None:
        if os.getpid() == here:
            tell(change)

    private = {original: _copy(original, changes, telling) for original, changes in _CHANGES.items()}
    private[os].__dict__.update(
        {name: _ending(getattr(os, name), here, end) for name in _ENDS},
        closerange=_closerange(here, tell),
        environ=_Environment(telling),
        kill=_kill(here, end),
    )
    return private


def _copy(original: ModuleType, changes: dict[str, str], tell: Tell) -> ModuleType:
    module = ModuleType(original.__name__, original.__doc__)
    module.__dict__.update(vars(original))
    for name, what in changes.items():
        if hasattr(original, name):  # not on every platform
            module.__dict__[name] = _told(getattr(original, name), f"{original.__name__}.{name}", what, tell)
    return module


def _told(function: Callable[..., Any], name: str, what: str, tell: Tell) -> Callable[..., Any]:
    def replaced(*args: Any, **kwargs: Any) -> Any:
        # setlocale without a locale only asks
        if name != "locale.setlocale" or (args[1:] or list(kwargs.values()) or [None])[0] is not None:
            tell(f"calls {name}, which changes {what}")
        return function(*args, **kwargs)

    return replaced


def _ending(function: Callable[..., Any], here: int, end: Callable[[], None]) -> Callable[..., Any]:
    def replaced(*args: Any, **kwargs: Any) -> Any:
        if os.getpid() != here:
            return function(*args, **kwargs)
        end()
        raise SystemExit

    return replaced


def _kill(here: int, end: Callable[[], None]) -> Callable[[int, int], None]:
    def kill(pid: int, signal: int) -> None:
        if pid != here or os.getpid() != here or not signal:
            os.kill(pid, signal)
            return
        end()
        raise SystemExit

    return kill


def _closerange(here: int, tell: Tell) -> Callable[[int, int], None]:
    def closerange(low: int, high: int) -> None:
        if os.getpid() != here:
            os.closerange(low, high)
            return
        tell(_CLOSES)

    return closerange


class _Environment(os._Environ[str]):
    """`os.environ` of the process, whose changes are told."""

    def __init__(self, tell: Tell) -> None:
        real = os.environ
        super().__init__(
            vars(real)["_data"], real.encodekey, real.decodekey, real.encodevalue, real.decodevalue
        )
        self._tell = tell

    def __setitem__(self, key: str, value: str) -> None:
        if self.get(key) != value:
            self._tell(f"sets the environment variable {key!r}")
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        if key in self:
            self._tell(f"deletes the environment variable {key!r}")
        super().__delitem__(key)
