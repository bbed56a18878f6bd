"""The interpreter as a model sees it: a `sys`, an `importlib` and a `builtins` of its own.

Each is a module that stands for the interpreter's. What a model sets there is seen by its own code alone; what it only
reads is the interpreter's. Code that is not the model's, an installed package for one, sees the interpreter's own.
"""

import builtins
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, MutableMapping
from types import BuiltinFunctionType, ModuleType
from typing import Any, Protocol


class Modules(Protocol):
    """The modules of one model."""

    path: list[Any]
    builtins: dict[str, Any]

    def get(self, name: str) -> ModuleType | None:
        """The module that the model's process would have under that name."""

    def put(self, name: str, module: ModuleType) -> None: ...

    def drop(self, name: str) -> None: ...

    def known(self) -> Iterable[str]:
        """The names of all modules that the model's process would have."""

    def own(self) -> Iterable[str]:
        """The names of those that no other model has."""

    def set_path(self, path: list[Any]) -> None: ...

    def import_any(self, name: str) -> ModuleType: ...

    def reload(self, module: ModuleType) -> ModuleType: ...


class _SysModules(MutableMapping[str, ModuleType]):
    """`sys.modules` of one model: its own modules, and the interpreter's where it has none of that name."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules

    def __repr__(self) -> str:
        return repr(dict(self))

    def __getitem__(self, name: str) -> ModuleType:
        module = self._modules.get(name)
        if module is None:
            raise KeyError(name)
        return module

    def __setitem__(self, name: str, module: ModuleType) -> None:
        self._modules.put(name, module)

    def __delitem__(self, name: str) -> None:
        self[name]
        self._modules.drop(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules.known())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def clear(self) -> None:
        """Drop the model's own: `mock.patch.dict` clears a mapping before it puts back what was there."""
        for name in list(self._modules.own()):
            self._modules.drop(name)

    def copy(self) -> dict[str, ModuleType]:
        return dict(self)


class PrivateSys(ModuleType):
    """`sys` with a `path` and `modules` of the model's own.

    The interpreter's functions are copied, as a model may call them often. All else is looked up each time.
    """

    path: list[Any]

    def __init__(self, modules: Modules) -> None:
        super().__init__("sys", sys.__doc__)
        functions = {name: value for name, value in vars(sys).items() if type(value) is BuiltinFunctionType}
        self.__dict__.update(
            {name: value for name, value in functions.items() if not name.endswith("hook")},
            __all__=[name for name in dir(sys) if not name.startswith("_")],
            _of_model=modules,
            modules=_SysModules(modules),
        )

    def __getattr__(self, name: str) -> Any:
        return self._of_model.path if name == "path" else getattr(sys, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "path":
            self._of_model.set_path(value)
        elif name in self.__dict__:
            super().__setattr__(name, value)
        else:
            setattr(sys, name, value)

    def __dir__(self) -> list[Any]:
        return dir(sys)


class PrivateImportlib(ModuleType):
    """`importlib` whose functions import into the model's own modules."""

    def __init__(self, modules: Modules) -> None:
        super().__init__("importlib", importlib.__doc__)
        self._modules = modules

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib, name)

    def import_module(self, name: str, package: str | None = None) -> ModuleType:
        """`importlib.import_module` for the code of the model."""
        return self._modules.import_any(importlib.util.resolve_name(name, package))

    def reload(self, module: ModuleType) -> ModuleType:
        """`importlib.reload` for the code of the model."""
        return self._modules.reload(module)


class PrivateBuiltins(ModuleType):
    """`builtins` whose members are those that the code of the model finds without an import."""

    def __init__(self, modules: Modules) -> None:
        super().__init__("builtins", builtins.__doc__)
        self.__dict__["_members"] = modules.builtins

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_members"][name]
        except KeyError:
            raise AttributeError(f"module 'builtins' has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__["_members"][name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self.__dict__["_members"]:
            raise AttributeError(f"module 'builtins' has no attribute {name!r}")
        del self.__dict__["_members"][name]

    def __dir__(self) -> list[Any]:
        return sorted(self.__dict__["_members"])
