"""`python -m triton_emulator` is the command `triton-emulator`."""

import sys

from triton_emulator.cli.main import main

sys.exit(main())
