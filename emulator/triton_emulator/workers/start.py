"""The program of a worker: `python start.py LINE CONNECTIONS`, the descriptors of two connected Unix sockets."""

import ctypes
import signal
import sys
from pathlib import Path

#: the number of prctl(2) that names the signal for the end of the parent
_PR_SET_PDEATHSIG = 1

# In place of the folder of this file, whose modules are no modules of their own. At the end: if the package's folder is
# in the path already, its place counts.
if not sys.flags.safe_path:
    del sys.path[0]
sys.path.append(str(Path(__file__).parents[2]))


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent has ended: it may be at work then that it cannot interrupt.

    Elsewhere than on Linux it ends when it reads the end of its messages.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    from triton_emulator.workers.worker import main

    main(int(sys.argv[1]), int(sys.argv[2]))
