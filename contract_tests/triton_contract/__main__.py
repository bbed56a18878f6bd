"""python -m triton_contract: the same as triton-contract."""

from .cli import main

main()
