"""The command line `triton-contract`: one file for each command."""

from .program import main

__all__ = ["main"]
