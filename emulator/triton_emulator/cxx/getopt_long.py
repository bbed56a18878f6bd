"""glibc's getopt_long for long options, as tritonserver uses it: the same abbreviations, refusals and error texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum


class Argument(Enum):
    """Whether an option takes an argument."""

    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Option:
    """One long option, named without its dashes. `abbreviated`: whether a unique prefix of the name stands for it.

    Options of the same `meaning` (the C interface's `val`) count as one: a prefix of both is not ambiguous.
    """

    name: str
    argument: Argument
    abbreviated: bool = True
    meaning: str = ""


class OptionError(Exception):
    """The error text of getopt_long for an option that it refuses, without the program's name.

    `written` is the name of an option that is not known, "" for other errors.
    """

    def __init__(self, text: str, written: str = "") -> None:
        super().__init__(text)
        self.written = written


def scan(arguments: Sequence[str], options: Sequence[Option]) -> Iterator[tuple[Option, str] | str]:
    """Yield each option with its argument ("" where it takes none), then the operands that are left over.

    Options and operands may be mixed; `--` ends the options. Raises OptionError at the first option that is refused,
    after the options before it are yielded, as in the C interface.
    """
    operands: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            operands += rest
        elif argument.startswith("--"):
            written, equals, value = argument[2:].partition("=")
            option = _find(written, argument, options)
            if option.argument is Argument.NONE and equals:
                raise OptionError(f"option '--{option.name}' doesn't allow an argument")
            if option.argument is Argument.REQUIRED and not equals:
                following = next(rest, None)
                if following is None:
                    raise OptionError(f"option '--{option.name}' requires an argument")
                value = following
            yield option, value
        elif len(argument) > 1 and argument.startswith("-"):
            raise OptionError(f"invalid option -- '{argument[1]}'")
        else:
            operands.append(argument)
    yield from operands


def _find(written: str, argument: str, options: Sequence[Option]) -> Option:
    matches = [option for option in options if option.name == written]
    matches = matches or [
        option for option in options if option.abbreviated and option.name.startswith(written)
    ]
    if not matches:
        raise OptionError(f"unrecognized option '{argument}'", written)
    first, *others = matches
    others = [option for option in others if not first.meaning or option.meaning != first.meaning]
    if others:
        names = " ".join(f"'--{option.name}'" for option in (first, *others))
        raise OptionError(f"option '{argument}' is ambiguous; possibilities: {names}")
    return first
