"""`os` as a model sees it: functions that would end the process end only the model's instance."""

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

_ENDS = ("_exit", "abort", *(name for name in dir(os) if name.startswith("exec")))


def private_os(end: Callable[[], None]) -> ModuleType:
    """A copy of `os` whose `_exit`, `abort`, `exec*` and `kill` (of this process) call `end` and raise SystemExit.

    SystemExit unwinds the model's code. In a process that the model has forked, these functions do what they always do.
    """
    here = os.getpid()
    module = ModuleType("os", os.__doc__)
    module.__dict__.update(vars(os))

    def ending(name: str) -> Callable[..., Any]:
        function = getattr(os, name)

        def replaced(*args: Any, **kwargs: Any) -> Any:
            if os.getpid() != here:
                return function(*args, **kwargs)
            end()
            raise SystemExit

        return replaced

    def kill(pid: int, signal: int) -> None:
        if pid != here or os.getpid() != here or not signal:
            os.kill(pid, signal)
            return
        end()
        raise SystemExit

    module.__dict__.update({name: ending(name) for name in _ENDS}, kill=kill)
    return module
