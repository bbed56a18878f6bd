"""The program of a worker: `python start.py LINE CONNECTIONS`, the descriptors of two connected Unix sockets."""

import sys
from pathlib import Path

# In place of the folder of this file, whose modules are no modules of their own. At the end: if the package's folder is
# in the path already, its place counts.
if not sys.flags.safe_path:
    del sys.path[0]
sys.path.append(str(Path(__file__).parents[2]))

if __name__ == "__main__":
    from triton_emulator.workers.worker import main

    main(int(sys.argv[1]), int(sys.argv[2]))
