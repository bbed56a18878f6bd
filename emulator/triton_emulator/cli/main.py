"""The command `triton-emulator`: it reads tritonserver's flags, and serves in the foreground or refuses them."""

import logging
import os
import sys
import threading
from collections.abc import Sequence

from triton_emulator.cli.command_line import CommandLine, HelpAsked, UsageError, parse
from triton_emulator.cli.usage import usage
from triton_emulator.session import log
from triton_emulator.session.log_settings import LogSettings

_LOG = logging.getLogger("triton_emulator.cli")  # by name: under `python -m` this module is `__main__`


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0 after a clean stop or --help, 1 after any failure."""
    try:
        line = parse(sys.argv[1:] if arguments is None else arguments)
    except HelpAsked:
        print(usage(), end="")  # tritonserver prints it to standard error and exits with 1
        return 0
    except UsageError as error:
        print(refusal(error), end="", file=sys.stderr)
        return 1
    return _serve(line)


def refusal(error: UsageError) -> str:
    """What tritonserver prints when it refuses a command line.

    getopt's message comes before the usage text, the server's own message after it. The usage text is longer than a
    screen, so getopt's message is repeated after it.
    """
    notes = "".join(f"{note}\n" for note in error.notes)
    if error.before:
        said = f"{os.path.basename(sys.argv[0])}: {error.before}\n"  # noqa: PTH119  (a name, not a path)
        return f"{notes}{said}{usage()}\n{said}"
    return f"{notes}{usage()}\n{error.after}\n"


def _serve(line: CommandLine) -> int:
    # The newer listener of gRPC waits in threads of its own, which doubles the thread switches of a request.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    from triton_emulator.cli.foreground import serve

    settings = line.settings
    for note in line.notes:
        print(note, file=sys.stderr)
    log.install(LogSettings.of(settings))
    for name in settings.ignored_flags:
        _LOG.warning("--%s has no effect in the emulator", name)
    code = serve(settings)
    _exit_without_waiting(code)
    return code


def _exit_without_waiting(code: int) -> None:
    """End the process at once if models have left threads: the interpreter would wait for those that are no daemons."""
    if threading.active_count() > 1:
        logging.shutdown()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
