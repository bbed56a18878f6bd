"""The command `triton-emulator`: it reads tritonserver's flags, and serves in the foreground or refuses them."""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

from triton_emulator.cli.command_line import (
    WRONG_FLAGS,
    CommandLine,
    HelpAsked,
    UsageError,
    VersionAsked,
    asked_personality,
    parse,
)
from triton_emulator.cli.usage import usage
from triton_emulator.protocol.personality import PROVED
from triton_emulator.session import log
from triton_emulator.session.log_settings import LogSettings
from triton_emulator.settings import Settings

_LOG = logging.getLogger("triton_emulator.cli")  # by name: under `python -m` this module is `__main__`


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0 after a clean stop or --help, 1 after any failure.

    With --check: 0 if all models load, 1 if one does not, 2 for flags that are refused.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        line = parse(words)
    except HelpAsked:
        # tritonserver prints it to standard error and exits with 1
        print(usage(asked_personality(words)), end="")
        return 0
    except VersionAsked:
        print(f"triton-emulator {version('triton-emulator')} (Triton {Settings().triton_version})")
        return 0
    except UsageError as error:
        print(refusal(error), end="", file=sys.stderr)
        return WRONG_FLAGS if "--check" in words else 1
    return _run(line)


def preload() -> None:
    """Import all that a server needs. A fork of this process that calls `main` then starts without imports."""
    _choose_grpc_listener()
    for name in (
        "triton_emulator.cli.foreground",
        "triton_emulator.frontends.grpc.server",
        "multiprocessing",
    ):
        with contextlib.suppress(ModuleNotFoundError):  # grpcio is optional
            import_module(name)


def refusal(error: UsageError) -> str:
    """What is printed for a command line that is refused: tritonserver's message, and where to look.

    tritonserver prints its usage text as well, which is longer than a screen.
    """
    program = os.path.basename(sys.argv[0])  # noqa: PTH119  (a name, not a path)
    said = f"{program}: {error.before}" if error.before else error.after.strip()
    lines = [*error.notes, said, *error.advice, f"{program} --help lists all flags."]
    return "".join(f"{line}\n" for line in lines)


def _run(line: CommandLine) -> int:
    _choose_grpc_listener()
    for note in line.notes:
        print(note, file=sys.stderr)
    code = _check(line) if line.check else _serve(line.settings)
    _exit_without_waiting(code)
    return code


def _choose_grpc_listener() -> None:
    # The newer listener of gRPC waits in threads of its own, which doubles the thread switches of a request.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")


def _serve(settings: Settings) -> int:
    from triton_emulator.cli.foreground import serve

    log.install(LogSettings.of(settings))
    for warning in warnings(settings):
        _LOG.warning("%s", warning)
    return serve(settings)


def _check(line: CommandLine) -> int:
    from triton_emulator.cli.check import check

    return check(line.settings, warnings(line.settings), as_json=line.output_format == "json")


def warnings(settings: Settings) -> list[str]:
    """What to say at the start: flags that were given and set nothing here, a version that no real server proves."""
    said = [f"--{name} has no effect in the emulator" for name in settings.ignored_flags]
    if settings.triton_version not in PROVED:
        said.append(
            f"--triton-version {settings.triton_version}: no real server of this version has been asked all cases. "
            f"What changed up to it is known from the source (compared with real servers: {', '.join(PROVED)})"
        )
    return said


def _exit_without_waiting(code: int) -> None:
    """End the process at once if models have left threads or processes: the interpreter would wait for them."""
    import multiprocessing  # slow to import, and `--help` does without it

    children = multiprocessing.active_children()
    for child in children:
        if child.daemon:  # as the interpreter does
            child.terminate()
    if children or threading.active_count() > 1:
        logging.shutdown()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
