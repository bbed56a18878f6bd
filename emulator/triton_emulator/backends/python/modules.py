"""A model's modules, kept apart from every other model's, as if each instance were a process of its own.

Triton runs each instance of a Python model in its own process, with the version's folder and the model's folder at the
end of `sys.path`, and imports `<version>.model`. Here all of them share one interpreter, so an instance has a `Space`:
its own copies of the modules found in those folders, and a private `__import__` for the code in them. While modules are
being imported the space is on stage: its modules are in `sys.modules` under their plain names and its folders on
`sys.path`, so that everything a module may do at import time works. The space whose model ran last stays resident in
`sys.modules`: code that looks a module up by its class's `__module__` (dataclasses, pickle) finds it there. Two models
that do so at the same moment are the one case in which this is not as good as two processes.
"""

import builtins
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from triton_emulator.backends.python.process import private_os


class Space:
    """The modules that belong to one model instance.

    `folders` (the version's, then the model's) are appended to `sys.path` while the space is on stage; `provided` are
    modules that exist in it from the start, by name; `end` is called where the model's code ends its process.
    """

    def __init__(
        self, folders: Sequence[Path], provided: Mapping[str, ModuleType], end: Callable[[], None]
    ) -> None:
        self._root = str(folders[-1])
        #: modules of the interpreter's of which the space has a version of its own
        self._private: dict[ModuleType, ModuleType] = {importlib: _Importlib(self), os: private_os(end)}
        self.modules: dict[str, ModuleType] = dict(provided)
        self.names = set(self.modules)
        #: top-level modules that are known to be nobody's but the interpreter's
        self._foreign: set[str] = set()
        self.extra_path = [str(folder) for folder in folders]
        self.builtins = dict(vars(builtins))
        self.builtins["__import__"] = self._import

    def import_module(self, name: str) -> ModuleType:
        """Import `name` as a fresh process with this space's folders on its path would."""
        with _STAGE.holding(self, name.partition(".")[0]):
            __import__(name)
            return sys.modules[name]

    def take_place(self) -> None:
        """Be the resident space, unless some space is on stage just now: called before the model's code runs."""
        if _STAGE.resident is not self:
            _STAGE.let_in(self)

    def close(self) -> None:
        """Forget the modules."""
        _STAGE.forget(self)
        self.modules.clear()

    def has_imported(self, name: str) -> bool:
        """Whether the module in `sys.modules` is one that this space has imported just now."""
        return name in self.names

    def owns(self, location: str | None) -> bool:
        """Whether a file or folder lies in one of the folders that only this space has on its path."""
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
        """Whether a top-level module is none of this space's, nor could become one."""
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
        """Take over what the model has appended to `sys.path` since it was on stage."""
        if not _STAGE.is_held_by(self):
            mine = [entry for entry in sys.path if entry.startswith(self._root)]
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
        """What an import statement yields when all it needs has been imported before."""
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
    """Whether a module belongs to the interpreter: a process of the model's own would have it, before the model's.

    What else is on the path (a test's folder) would not be there in a process of the model's own.
    """
    if top in sys.stdlib_module_names:
        return True
    return file is not None and not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


class _Importlib(ModuleType):
    """`importlib` as a model sees it: its `import_module` imports into the model's space."""

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
    """Loads a model's source file into its space; never from or into `__pycache__`, a model may change any moment."""

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
    """`sys.modules` and `sys.path`, which one space at a time may have.

    The interpreter has one of each, so this is the one thing here that a process shares between sessions.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.resident: Space | None = None
        self._on: Space | None = None
        self._thread = 0
        #: modules of others that make room for those of the space on stage
        self._displaced: dict[str, ModuleType] = {}
        #: every name that some space has or had: such a name in `sys.modules` may be another model's
        self.names: set[str] = set()

    @contextmanager
    def holding(self, space: Space, wanted: str) -> Iterator[None]:
        """Have the space on stage, for an import of the top-level module `wanted` ("" for a relative one)."""
        with self._lock:
            if self._on is space:
                self._make_room(space, wanted)
                yield
                return
            if self not in sys.meta_path:
                sys.meta_path.insert(_position_of_path_finder(), self)
            outer, base = self._on, sys.path
            self._move_in(space)
            self._on, self._thread = space, threading.get_ident()
            self._make_room(space, wanted)
            for folder in space.extra_path:  # their listings may be older than a file just written
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
                self._displaced.clear()
                self._on = outer
                if outer is not None:
                    self._move_in(outer)

    def is_held_by(self, space: Space) -> bool:
        return self._on is space and self._thread == threading.get_ident()

    def let_in(self, space: Space) -> None:
        if self._lock.acquire(blocking=False):  # an import may take long, running models do not wait for it
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
        """Part of the import system: finds what the space on stage owns, and leaves the rest to others."""
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
        """Put the space's modules in place of others of the same names, and none in place of the one to be imported."""
        for name, module in space.modules.items():
            other = sys.modules.get(name)
            if other is not module:
                if other is not None:
                    self._displaced[name] = other
                sys.modules[name] = module
        if wanted in sys.modules and wanted not in space.modules and not space.has_imported(wanted):
            for name in [name for name in sys.modules if name.partition(".")[0] == wanted]:
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
