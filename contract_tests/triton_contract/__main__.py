"""python -m triton_contract is triton-contract."""

from .cli import entry

entry()
