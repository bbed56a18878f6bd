"""Starts a Python program by forking a process that has imported it already: a start costs milliseconds, not imports.

This file is a program of its own, which `launching` starts with the program's own interpreter.

    python forkserver.py SOCKET SCRIPT MODULE FUNCTION

SCRIPT is the program's console script, which would call FUNCTION of MODULE. What MODULE needs later is imported by its
`preload`, where it has one. Then each message on the socket, a descriptor, asks for one start. The message has the
words of the command, the environment and the working directory, as JSON. With it come two descriptors: the file for the
output, and a socket for the news of the new process: "pid NUMBER", and later "end CODE", a line each. CODE is the exit
code, or the negative number of the signal that ended it.

Each start makes two processes. One runs the program. The other is its parent, the keeper: it tells of the end, and
no other process can get the program's id until the other end of the socket is closed. No process has more than one
thread when it forks.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

LARGEST_MESSAGE = 1 << 20


def keep(process: int, news: socket.socket) -> None:
    """Tell how a child ended, and end this process when nobody listens any longer."""
    try:
        ended = os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        if ended is not None:
            code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            news.sendall(b"end %d\n" % code)
        news.recv(1)
        os.waitpid(process, 0)
    finally:
        os._exit(0)


def become(message: bytes, output: int, news: socket.socket) -> None:
    """Make this process, a fork, what a newly started interpreter would be."""
    asked = json.loads(message)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    os.setsid()
    with news:
        news.sendall(b"pid %d\n" % os.getpid())
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = asked["words"]
    sys.modules["__main__"].__file__ = asked["words"][0]
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # Python's own generator is seeded anew by itself


def serve(control: socket.socket) -> bool:
    """Fork for each message. Returns True in a process that shall run the program, False after the last message."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, LARGEST_MESSAGE, 2)
        _wait_for_keepers(os.WNOHANG)
        if not message:
            return False
        output = descriptors[0]
        with socket.socket(fileno=descriptors[1]) as news:
            if os.fork() == 0:
                control.close()
                program = os.fork()
                if program:
                    os.close(output)
                    keep(program, news)
                become(message, output, news)
                return True
        os.close(output)


def _wait_for_keepers(options: int) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def main() -> int:
    descriptor, script, module, function = sys.argv[1:]
    control = socket.socket(fileno=int(descriptor))
    control.set_inheritable(False)
    sys.path[0] = str(Path(script).resolve().parent)
    loaded = import_module(module)
    preload = getattr(loaded, "preload", None)
    if preload is not None:
        preload()
    gc.collect()
    gc.freeze()
    control.sendall(b"ready")
    if not serve(control):
        _wait_for_keepers(0)
        return 0
    code: int = getattr(loaded, function)()
    return code


if __name__ == "__main__":
    sys.exit(main())
