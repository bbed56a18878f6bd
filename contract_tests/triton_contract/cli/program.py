"""triton-contract: run the real server, compare servers, record answers, write the ledger.

It is built on click, because options repeat (`--only A --only B`), the words after `--` belong to another program, and
every command explains itself with `--help`.
"""

from __future__ import annotations

from typing import IO, Any

import click

from triton_contract.cases.load import CaseError
from triton_contract.comparing.baseline import BaselineError
from triton_contract.comparing.divergences import DivergenceError
from triton_contract.comparing.results import ResultsError
from triton_contract.process import ServerFailed
from triton_contract.reference import ReferenceUnavailable
from triton_contract.running.stop import UNAVAILABLE
from triton_contract.targets import TargetUnavailable, UnknownTarget

from .cases import cases
from .diff import diff
from .fuzz import fuzz
from .record import record
from .report import report
from .run import run
from .serve import serve
from .show import show

WRONG_USE = 2
KNOWN_FAILURES: dict[type[Exception], int] = {
    CaseError: WRONG_USE,
    DivergenceError: WRONG_USE,
    BaselineError: WRONG_USE,
    ResultsError: WRONG_USE,
    UnknownTarget: WRONG_USE,
    ReferenceUnavailable: UNAVAILABLE,
    TargetUnavailable: UNAVAILABLE,
    ServerFailed: UNAVAILABLE,
}
"""The exit codes of known failures. The first that an error is an instance of counts."""


class Failure(click.ClickException):
    """A known failure: one line instead of a traceback."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"triton-contract: {self.message}", file=file, err=True)


class Program(click.Group):
    """The group of all commands. It tells known failures in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except tuple(KNOWN_FAILURES) as error:
            code = next(code for kind, code in KNOWN_FAILURES.items() if isinstance(error, kind))
            raise Failure(str(error), code) from error


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="triton-emulator", message="triton-contract %(version)s")
def main() -> None:
    r"""Compare a Triton server with the real one.

    \b
    Examples:
      triton-contract serve --target triton -- --model-repository=models
      triton-contract diff --target emulator
      triton-contract diff --target emulator --only 'infer/*'
      triton-contract run --target http://host:8000 --repository http
      triton-contract cases --only 'generate/*'

    Exit codes: 0 all agreed, 1 something differed, 2 wrong use, 3 a server was not available or was lost, 130 and 143
    interrupted.
    """


for _command in (serve, diff, run, record, cases, show, report, fuzz):
    main.add_command(_command)
main.add_command(report, "ledger")

for _command in (main, *main.commands.values()):
    # In a raw docstring, click's mark for "do not wrap" (a backspace) is two characters.
    _command.help = (_command.help or "").replace("\\b\n", "\b\n")
