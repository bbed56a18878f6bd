"""Keeps the modules of each model instance apart from all others, as if each instance had a process of its own.

Theory of operation. Triton runs each instance of a Python model in its own process, with the version's folder and the
model's folder at the end of `sys.path`, and imports `<version>.model`. Here all instances share one interpreter. So
each has a `Space`: its own copies of the modules found in those folders and in those that the model adds to its path,
and a private `__import__` for the code in them. That code also has a `sys.path`, a `sys.modules` and `builtins` of its
own (`interpreter`).

- While a space imports, it is *on stage*: its modules are in `sys.modules` under their plain names, and its folders are
  on `sys.path`, so that everything that a module may do at import time works. One space at a time is on stage; modules
  of others with the same names are put aside and restored afterwards.
- Imports nest: the garbage collector may call a `__del__` of one model in the middle of another's import, and that
  may import too, even after the end of its own space. What a space finds in `sys.modules` under the names that it has
  once imported may thus be another's, and is put aside.
- Another thread may take a module out of `sys.modules` while it is imported. coverage.py does: when `sys.path` has
  changed it remembers the names in `sys.modules`, looks for the packages that it measures, and deletes each name that
  came meanwhile. So a space keeps the modules that it makes, and puts one back where the import system misses it.
- Code that is not the model's may import for it while it is not on stage: pickle, runpy, an installed package. The
  model is then found on the stack.
- The space whose model ran last is *resident*: its modules stay in `sys.modules`, because some code finds a module by
  the `__module__` of a class (dataclasses, pickle).

The limits: if two models look modules up that way at the same moment, one of them may find the other's. A module from
outside the model's folders that another thread takes out of `sys.modules` is not put back.
"""

import builtins
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from triton_emulator.backends.python.interpreter import PrivateBuiltins, PrivateImportlib, PrivateSys
from triton_emulator.backends.python.process import private_modules
from triton_emulator.backends.python.stage import STAGE, Performer, holds_installed, is_installed


class Space(Performer):
    """The modules that belong to one model instance.

    `folders` (the version's, then the model's) are appended to `path`, which is `sys.path` for the model's code, and
    for all code while the space is on stage. `provided` are modules that exist in it from the start, by name. `end` is
    called when the model's code ends its process, `tell` when it changes what all share, with what it does.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        provided: Mapping[str, ModuleType],
        end: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        self.modules: dict[str, ModuleType] = dict(provided)
        self.names = set(self.modules)
        self.late: set[str] = set()
        #: the modules made from source files of this space, until their import fails
        self.made: dict[str, ModuleType] = {}
        #: top-level modules that are known to belong to the interpreter alone
        self._foreign: set[str] = set()
        self._folders = [str(folder) for folder in folders]
        base = STAGE.base()
        self._base = frozenset(base).difference(self._folders)
        self.path: list[Any] = [*base, *self._folders]
        self.builtins = dict(vars(builtins))
        self.builtins["__import__"] = self._import
        #: modules of the interpreter that the space replaces with its own version
        self._private: dict[ModuleType, ModuleType] = {
            builtins: PrivateBuiltins(self),
            importlib: PrivateImportlib(self),
            **private_modules(end, tell),
            sys: PrivateSys(self),
        }

    def path_of_child(self, utils: str) -> list[str]:
        """`sys.path` for a new interpreter that this space's code starts; `utils` is one more folder on it.

        What is installed comes first, as in the space, and then its folders, before others of this program.
        """
        mine = [*self.own_folders(), utils]
        others = [entry or str(Path.cwd()) for entry in self.path if entry not in mine]
        installed = [entry for entry in others if holds_installed(entry)]
        return [*installed, *mine, *(entry for entry in others if entry not in installed)]

    def import_module(self, name: str) -> ModuleType:
        """Import `name` as a new process with this space's folders on its path would."""
        with STAGE.holding(self, name.partition(".")[0]):
            self._import_on_stage(name)
            return {**self.made, **sys.modules}[name]

    def make_resident(self) -> None:
        """Become the resident space, unless a space is on stage now. Called before the model's code runs."""
        if STAGE.resident is not self:
            STAGE.make_resident(self)

    def close(self) -> None:
        """Drop the modules."""
        STAGE.forget(self)
        self.modules.clear()
        self.made.clear()

    def own_folders(self) -> list[str]:
        """What the space has on its path besides what the interpreter had: its folders, and what the model added."""
        return [
            os.path.abspath(entry)  # noqa: PTH100  (what an import finds is named by the path as it is, links and all)
            for entry in self.path
            if isinstance(entry, str) and entry not in self._base and not holds_installed(entry)
        ]

    def get(self, name: str) -> ModuleType | None:
        """The module that the model's process would have under that name now."""
        module, shown = self.modules.get(name), sys.modules.get(name)
        if module is None and (
            name not in STAGE.names or shown is self.made.get(name) or STAGE.is_held_by(self)
        ):
            module = shown
        return self._private.get(module, module) if module is not None else None

    def put(self, name: str, module: ModuleType) -> None:
        """Set a module as code of the model does in `sys.modules`."""
        if self.get(name) is module:
            return
        spec = getattr(module, "__spec__", None)
        if name not in self.names and spec is not None and not self.owns(spec.origin):
            sys.modules[name] = module
        else:
            self.keep(name, module)

    def keep(self, name: str, module: ModuleType) -> None:
        """Make a module one of this space."""
        self.names.add(name)
        self.modules[name] = module
        STAGE.keep(self, name, module)

    def drop(self, name: str) -> None:
        """Remove a module as code of the model does from `sys.modules`."""
        module = self.modules.pop(name, None) or self.made.pop(name, None) or sys.modules.get(name)
        self.made.pop(name, None)
        if sys.modules.get(name) is module:
            del sys.modules[name]

    def own(self) -> list[str]:
        """The names of the modules that are this space's."""
        return list(self.modules)

    def known(self) -> list[str]:
        """The names of all modules that the model's process would have now."""
        return [name for name in {**self.modules, **sys.modules} if self.get(name) is not None]

    def set_path(self, path: list[Any]) -> None:
        """Set what is `sys.path` for the code of this space."""
        self.path = path
        if STAGE.is_held_by(self):
            sys.path = path

    def import_any(self, name: str) -> ModuleType:
        """Import a module for the code of this space, and return it even if it is part of a package."""
        self._import(name)
        module = self.modules.get(name) or sys.modules[name]
        return self._private.get(module, module)

    def reload(self, module: ModuleType) -> ModuleType:
        """`importlib.reload` of a module of this space or of the interpreter."""
        with STAGE.holding(self, ""):
            return importlib.reload(module)

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """`__import__` for the code of this space."""
        top = "" if level else name.partition(".")[0]
        if top and self._is_foreign(top):
            module = builtins.__import__(name, globals, locals, fromlist, level)
            return self._private.get(module, module)
        found = self._imported(name, globals, fromlist, level)
        if found is not None:
            return found
        with STAGE.holding(self, top):
            return self._import_on_stage(name, globals, locals, fromlist, level)

    def _import_on_stage(self, name: str, *rest: Any) -> ModuleType:
        """`__import__`, also if another thread takes modules of this space out of `sys.modules` meanwhile."""
        known = set(self.made)
        while True:
            try:
                return builtins.__import__(name, *rest)
            except BaseException as error:
                if not self._put_back(error):
                    for made in self.made.keys() - known - sys.modules.keys():
                        del self.made[made]
                    raise

    def _put_back(self, error: BaseException) -> bool:
        """Whether the import system missed a module of this space. If asked again, it finds it or may make it.

        Only a namespace package is made again, as it has no code that could run twice.
        """
        if not isinstance(error, KeyError) or not _is_of_import_system(error):
            return False
        missed = error.args[0]
        for name, module in self.made.items():
            sys.modules.setdefault(name, module)
        parent, _, child = missed.rpartition(".")
        if missed in self.made and parent in self.made:  # the import system does this last
            setattr(self.made[parent], child, self.made[missed])
        return missed in self.names

    def _is_foreign(self, top: str) -> bool:
        """Whether a top-level module neither belongs to this space nor could be found in its folders."""
        if top in self._foreign:
            return True
        if top in self.names:
            return False
        known = sys.modules.get(top)
        if self._may_hold(top) and not is_installed(top, getattr(known, "__file__", None)):
            return False
        if known is not None and top not in STAGE.names:
            self._foreign.add(top)
        return known is None or top not in STAGE.names

    def _may_hold(self, top: str) -> bool:
        """Whether an import of `top` could find it in this space's folders."""
        for folder in self.own_folders():
            with suppress(OSError), os.scandir(folder) as entries:
                if any(entry.name.partition(".")[0] == top for entry in entries):
                    return True
        return False

    def _imported(
        self, name: str, globals: Mapping[str, Any] | None, fromlist: Sequence[str] | None, level: int
    ) -> ModuleType | None:
        """The result of an import statement if everything that it needs is imported already, else None."""
        if level:
            package = (globals or {}).get("__package__")
            if not package:
                return None
            name = importlib.util.resolve_name("." * level + name, package)
        module = self.modules.get(name)
        if module is None:
            return None
        if not fromlist:
            return module if level else self.modules.get(name.partition(".")[0])
        return module if all(hasattr(module, wanted) for wanted in fromlist) else None


def _is_of_import_system(error: BaseException) -> bool:
    """Whether the import system itself raised the error, and not the code of a module."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename == "<frozen importlib._bootstrap>"


def let_go_after_fork(space: Space | None) -> None:
    """Called in a forked child: what another thread of its parent held is let go; `space` becomes resident."""
    STAGE.let_go_after_fork(space)
