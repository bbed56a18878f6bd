"""The command line `triton-contract`: one file for each command."""

import sys

from triton_contract.extras import MissingExtra, needing

try:
    with needing("contract", "triton-contract"):
        from .program import main
except MissingExtra as error:
    sys.exit(str(error))

__all__ = ["main"]
