"""Keeps the modules of each model instance apart from all others, as if each instance had a process of its own.

Theory of operation. Triton runs each instance of a Python model in its own process, with the version's folder and the
model's folder at the end of `sys.path`, and imports `<version>.model`. Here all instances share one interpreter. So
each has a `Space`: its own copies of the modules found in those folders, and a private `__import__` for the code in
them.

- While a space imports, it is *on stage*: its modules are in `sys.modules` under their plain names, and its folders are
  on `sys.path`, so that everything that a module may do at import time works. One space at a time is on stage; modules
  of others with the same names are put aside and restored afterwards.
- Imports nest: the garbage collector may call a `__del__` of one model in the middle of another's import, and that
  may import too, even after the end of its own space. What a space finds in `sys.modules` under the names that it has
  once imported may thus be another's, and is put aside.
- The space whose model ran last is *resident*: its modules stay in `sys.modules`, because some code finds a module by
  the `__module__` of a class (dataclasses, pickle).

The limit: if two models look modules up that way at the same moment, one of them may find the other's.
"""

import builtins
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from triton_emulator.backends.python.process import private_os


class Space:
    """The modules that belong to one model instance.

    `folders` (the version's, then the model's) are appended to `sys.path` while the space is on stage. `provided` are
    modules that exist in it from the start, by name. `end` is called when the model's code ends its process.
    """

    def __init__(
        self, folders: Sequence[Path], provided: Mapping[str, ModuleType], end: Callable[[], None]
    ) -> None:
        self._root = str(folders[-1])
        #: modules of the interpreter that the space replaces with its own version
        self._private: dict[ModuleType, ModuleType] = {importlib: _Importlib(self), os: private_os(end)}
        self.modules: dict[str, ModuleType] = dict(provided)
        self.names = set(self.modules)
        #: top-level modules that are known to belong to the interpreter alone
        self._foreign: set[str] = set()
        self.extra_path = [str(folder) for folder in folders]
        self.builtins = dict(vars(builtins))
        self.builtins["__import__"] = self._import

    def import_module(self, name: str) -> ModuleType:
        """Import `name` as a new process with this space's folders on its path would."""
        with _STAGE.holding(self, name.partition(".")[0]):
            __import__(name)
            return sys.modules[name]

    def make_resident(self) -> None:
        """Become the resident space, unless a space is on stage now. Called before the model's code runs."""
        if _STAGE.resident is not self:
            _STAGE.make_resident(self)

    def close(self) -> None:
        """Drop the modules."""
        _STAGE.forget(self)
        self.modules.clear()

    def has_imported(self, name: str) -> bool:
        """Whether this space has imported the module of that name that is in `sys.modules`."""
        return name in self.names

    def owns(self, location: str | None) -> bool:
        """Whether a file or folder is inside one of the folders that only this space has on its path."""
        return location is not None and any(location.startswith(folder + "/") for folder in self.extra_path)

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
        with _STAGE.holding(self, top):
            return builtins.__import__(name, globals, locals, fromlist, level)

    def _is_foreign(self, top: str) -> bool:
        """Whether a top-level module neither belongs to this space nor could be found in its folders."""
        if top in self._foreign:
            return True
        if top in self.names:
            return False
        known = sys.modules.get(top)
        if known is None:
            self._adopt_path()
        if self._may_hold(top) and not _is_installed(top, getattr(known, "__file__", None)):
            return False
        if known is not None and top not in _STAGE.names:
            self._foreign.add(top)
        return known is None or top not in _STAGE.names

    def _adopt_path(self) -> None:
        """Move to the space's own path what the model has appended to `sys.path` since it was on stage."""
        if not _STAGE.is_held_by(self):
            below = self._root + os.sep  # the folder of a model may be the start of another's name
            mine = [entry for entry in sys.path if entry == self._root or entry.startswith(below)]
            if mine:
                self.extra_path += mine
                sys.path = [entry for entry in sys.path if entry not in mine]

    def _may_hold(self, top: str) -> bool:
        """Whether an import of `top` could find it in this space's folders."""
        for folder in self.extra_path:
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


def _is_installed(top: str, file: str | None) -> bool:
    """Whether a module is installed in the interpreter: in a process of its own, the model would find it first.

    Anything else on the path (a test's folder, for example) would not be there in a process of the model's own.
    """
    if top in sys.stdlib_module_names:
        return True
    return file is not None and not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


class _Importlib(ModuleType):
    """`importlib` as a model sees it: `import_module` imports into the model's space."""

    def __init__(self, space: Space) -> None:
        super().__init__("importlib", importlib.__doc__)
        self._space = space

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib, name)

    def import_module(self, name: str, package: str | None = None) -> ModuleType:
        """`importlib.import_module` for the code of the space."""
        absolute = importlib.util.resolve_name(name, package)
        self._space._import(absolute)
        module = self._space.modules.get(absolute) or sys.modules[absolute]
        return self._space._private.get(module, module)


class _Loader(SourceFileLoader):
    """Loads a model's source file into its space. It does not use `__pycache__`, as a model may change at any time."""

    def __init__(self, space: Space, name: str, path: str) -> None:
        super().__init__(name, path)
        self._space = space

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        module.__dict__["__builtins__"] = self._space.builtins
        return module

    def path_stats(self, path: str) -> Any:
        raise OSError("without a time stamp no compiled form is looked for or written")


class _Stage:
    """The use of `sys.modules` and `sys.path`, which one space at a time may have.

    The interpreter has only one of each, so this is state that all sessions of a process share.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.resident: Space | None = None
        self._on: Space | None = None
        self._thread = 0
        #: other modules with the names of those of the space on stage, until this one leaves
        self._displaced: dict[str, ModuleType] = {}
        #: every name that a space has or had: a module of such a name in `sys.modules` may be another model's
        self.names: set[str] = set()

    @contextmanager
    def holding(self, space: Space, wanted: str) -> Iterator[None]:
        """Put the space on stage, for an import of the top-level module `wanted` ("" for a relative import)."""
        with self._lock:
            if self._on is space:
                self._make_room(space, wanted)
                yield
                return
            if self not in sys.meta_path:
                sys.meta_path.insert(_position_of_path_finder(), self)
            # There is an outer space where code of this one runs in the middle of another's import: a `__del__`, say.
            outer, base, outer_displaced = self._on, sys.path, self._displaced
            self._displaced = {}
            self._move_in(space)
            self._on, self._thread = space, threading.get_ident()
            self._take_away(space.names.difference(space.modules))
            self._make_room(space, wanted)
            for folder in space.extra_path:  # a cached listing may be older than a file just written
                sys.path_importer_cache.pop(folder, None)
            sys.path = [*base, *space.extra_path]
            try:
                yield
            finally:
                known = set(base)
                space.extra_path = [entry for entry in sys.path if entry not in known]
                sys.path = base
                space.modules.update({n: sys.modules[n] for n in space.names if n in sys.modules})
                self.names |= space.names
                sys.modules.update(self._displaced)
                self._displaced = outer_displaced
                self._on = outer
                if outer is not None:
                    self._move_in(outer)

    def is_held_by(self, space: Space) -> bool:
        return self._on is space and self._thread == threading.get_ident()

    def make_resident(self, space: Space) -> None:
        """Make a space resident, unless an import holds the stage: a running model must not wait for a long import."""
        if self._lock.acquire(blocking=False):
            try:
                if self._on is None:
                    self._move_in(space)
            finally:
                self._lock.release()

    def forget(self, space: Space) -> None:
        with self._lock:
            if self.resident is space:
                self._move_out()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        """Called by the import system: finds what belongs to the space on stage; other finders find the rest."""
        space = self._on
        if space is None or self._thread != threading.get_ident():
            return None
        spec = PathFinder.find_spec(name, path, target)
        if path is None and not _is_installed(name, spec.origin if spec else None):
            spec = PathFinder.find_spec(name, space.extra_path, target) or spec
        if spec is None:
            return None
        locations = spec.submodule_search_locations or ()
        if space.owns(spec.origin) or any(space.owns(place) for place in locations):
            space.names.add(name)
            if isinstance(spec.loader, SourceFileLoader):
                spec.loader = _Loader(space, spec.loader.name, spec.loader.path)
                spec.cached = None
        return spec

    def _move_in(self, space: Space) -> None:
        if self.resident is not space:
            self._move_out()
            for name, module in space.modules.items():
                sys.modules.setdefault(name, module)
            self.resident = space

    def _make_room(self, space: Space, wanted: str) -> None:
        """Put the space's modules in place of others with the same names.

        If the module to be imported is another's, it is removed, so that the import finds the space's own.
        """
        for name, module in space.modules.items():
            if sys.modules.get(name) is not module:
                self._take_away([name])
                sys.modules[name] = module
        if wanted in sys.modules and wanted not in space.modules and not space.has_imported(wanted):
            # a list, as imports on other threads change the dict meanwhile
            self._take_away([name for name in list(sys.modules) if name.partition(".")[0] == wanted])

    def _take_away(self, names: Iterable[str]) -> None:
        """Remove what others have imported under these names, until the space leaves."""
        for name in names:
            if name in sys.modules:
                self._displaced[name] = sys.modules.pop(name)

    def _move_out(self) -> None:
        if self.resident is not None:
            for name, module in self.resident.modules.items():
                if sys.modules.get(name) is module:
                    del sys.modules[name]
            self.resident = None


def _position_of_path_finder() -> int:
    return sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)


_STAGE = _Stage()
