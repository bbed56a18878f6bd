"""The stage: the use of `sys.modules` and `sys.path`, which the interpreter has only once, by one model at a time.

`modules` explains how it works.
"""

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Self

_STANDARD_LIBRARY = str(Path(os.__file__).parent)


class Performer:
    """What the stage knows of a model instance.

    `path` is its `sys.path`. `modules` are its own, `made` those made from source files until their import fails, and
    `names` are those of all that it has imported. `late` are the names of what was imported for it off the stage and is
    not among `modules` yet.
    """

    path: list[Any]
    builtins: dict[str, Any]
    modules: dict[str, ModuleType]
    made: dict[str, ModuleType]
    names: set[str]
    late: set[str]

    @classmethod
    def of(cls, frame: FrameType) -> Self | None:
        """The instance whose code a frame runs; None for code that is no model's."""
        owner = getattr(frame.f_builtins.get("__import__"), "__self__", None)
        return owner if isinstance(owner, cls) else None

    def own_folders(self) -> list[str]:
        """What the instance has on its path besides what the interpreter had."""
        raise NotImplementedError

    def owns(self, location: str | None) -> bool:
        """Whether a file or folder is inside one of the instance's own folders."""
        return location is not None and any(
            location.startswith(folder + os.sep) for folder in self.own_folders()
        )

    def has_imported(self, name: str) -> bool:
        """Whether the instance has imported the module of that name that is in `sys.modules`."""
        return name in self.names


def is_installed(top: str, file: str | None) -> bool:
    """Whether a module is installed in the interpreter: in a process of its own, the model would find it first.

    Anything else on the path (a test's folder, for example) would not be there in a process of the model's own.
    """
    if top in sys.stdlib_module_names:
        return True
    return file is not None and not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


def holds_installed(entry: str) -> bool:
    """Whether an entry of `sys.path` holds the standard library or installed packages."""
    return entry.startswith(_STANDARD_LIBRARY) or is_installed("", entry)


class _Loader(SourceFileLoader):
    """Loads a model's source file into its space. It does not use `__pycache__`, as a model may change at any time."""

    def __init__(self, space: Performer, name: str, path: str) -> None:
        super().__init__(name, path)
        self._space = space

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        module.__dict__["__builtins__"] = self._space.builtins
        self._space.made[spec.name] = module
        return module

    def path_stats(self, path: str) -> Any:
        raise OSError("without a time stamp no compiled form is looked for or written")


_Loader.__name__ = _Loader.__qualname__ = (
    SourceFileLoader.__name__
)  # what the model sees of its modules' specs
_Loader.__module__ = SourceFileLoader.__module__


class _Stage:
    """The use of `sys.modules` and `sys.path`, which one space at a time may have.

    The interpreter has only one of each, so this is state that all sessions of a process share.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.resident: Performer | None = None
        self._on: Performer | None = None
        self._thread = 0
        #: `sys.path` without what the space on stage adds to it
        self._base: list[str] = []
        #: other modules with the names of those of the space on stage, until this one leaves
        self._displaced: dict[str, ModuleType] = {}
        #: every name that a space has or had: a module of such a name in `sys.modules` may be another model's
        self.names: set[str] = set()

    @contextmanager
    def holding(self, space: Performer, wanted: str) -> Iterator[None]:
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
            self._on, self._thread, self._base = space, threading.get_ident(), base
            _adopt(space)
            self._take_away(space.names.difference(space.modules))
            self._make_room(space, wanted)
            for folder in space.path:  # a cached listing may be older than a file just written
                if folder not in base:
                    sys.path_importer_cache.pop(folder, None)
            sys.path = space.path
            try:
                yield
            finally:
                space.path, sys.path = sys.path, base
                found = {**space.made, **sys.modules}
                own = {name: found[name] for name in space.names if name in found}
                space.modules.update(own)
                sys.modules.update(own)
                self.names |= space.names
                sys.modules.update(self._displaced)
                self._displaced = outer_displaced
                self._on, self._base = outer, base
                if outer is not None:
                    self._move_in(outer)

    def is_held_by(self, space: Performer) -> bool:
        return self._on is space and self._thread == threading.get_ident()

    def base(self) -> list[str]:
        """`sys.path` as it is while no space is on stage."""
        return list(sys.path if self._on is None else self._base)

    def keep(self, space: Performer, name: str, module: ModuleType) -> None:
        """Note that a space has a module of that name, and show it under the name if the space is resident."""
        if name not in sys.modules:
            self.names.add(name)
        if self.resident is space:
            sys.modules.setdefault(name, module)

    def make_resident(self, space: Performer) -> None:
        """Make a space resident, unless an import holds the stage: a running model must not wait for a long import."""
        if self._lock.acquire(blocking=False):
            try:
                if self._on is None:
                    self._move_in(space)
            finally:
                self._lock.release()

    def forget(self, space: Performer) -> None:
        with self._lock:
            if self.resident is space:
                self._move_out()

    def let_go_after_fork(self, space: Performer | None) -> None:
        """In a forked child: end what another thread, which does not exist here, had begun; make `space` resident."""
        if self._on is None or self._thread != threading.get_ident():
            self._lock = threading.RLock()
            if self._on is not None:
                self._on, sys.path = None, self._base
                sys.modules.update(self._displaced)
                self._displaced = {}
        if space is not None and self._on is None:
            self._move_in(space)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        """Called by the import system: finds what belongs to the space on stage; other finders find the rest."""
        space = self._on if self._thread == threading.get_ident() else None
        if space is None:
            # Code that is not the model's may import for it: pickle, runpy or an installed package.
            space = _space_below(sys._getframe(1))
            if space is None:
                return None
            self.make_resident(space)
            late = space.late
        else:
            late = set()
        spec = PathFinder.find_spec(name, space.path if path is None else path, target)
        if path is None and not is_installed(name, spec.origin if spec else None):
            spec = PathFinder.find_spec(name, space.own_folders(), target) or spec
        if spec is None:
            return None
        locations = spec.submodule_search_locations or ()
        if space.owns(spec.origin) or any(space.owns(place) for place in locations):
            space.names.add(name)
            late.add(name)
            self.names.add(name)
            if isinstance(spec.loader, SourceFileLoader):
                spec.loader = _Loader(space, spec.loader.name, spec.loader.path)
                spec.cached = None
        return spec

    def _move_in(self, space: Performer) -> None:
        if self.resident is not space:
            self._move_out()
            for name, module in space.modules.items():
                sys.modules.setdefault(name, module)
            self.resident = space

    def _make_room(self, space: Performer, wanted: str) -> None:
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
            _adopt(self.resident)
            for name, module in self.resident.modules.items():
                if sys.modules.get(name) is module:
                    del sys.modules[name]
            self.resident = None


def _adopt(space: Performer) -> None:
    """Add to the space's modules what was imported for it while it was not on stage."""
    while space.late:
        name = space.late.pop()
        if name in space.made and sys.modules.get(name) is space.made[name]:
            space.modules[name] = space.made[name]


def _space_below(frame: FrameType | None) -> Performer | None:
    """The space of the innermost code of a model on the stack."""
    while frame is not None:
        if (space := Performer.of(frame)) is not None:
            return space
        frame = frame.f_back
    return None


def _position_of_path_finder() -> int:
    return sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)


STAGE = _Stage()
