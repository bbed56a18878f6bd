"""What to install where a package of an extra is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec


class MissingExtra(ImportError):
    """A package of an extra is not installed. The text has the `pip install` that mends it."""


@contextmanager
def needing(extra: str, user: str, *later: str) -> Iterator[None]:
    """Raise MissingExtra where an import in the block finds no package.

    `user` is what needs it, `later` are packages that it imports only later.
    """
    try:
        for name in later:
            if find_spec(name) is None:
                raise ModuleNotFoundError(name=name)
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == __name__.partition(".")[0]:
            raise  # a module of our own: no extra would bring it
        text = f"{user} needs {package}, which is not installed: pip install 'triton-emulator[{extra}]'"
        raise MissingExtra(text, name=error.name) from None
