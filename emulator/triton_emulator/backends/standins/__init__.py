"""Stand-ins: answers made from a model's configuration, for backends that cannot run here.

`stands_in` says whether a model is answered this way, `complete` and `complete_tensors` add to its configuration what
its backend would add, `add_given` what `emulator.yaml` gives, `load` makes the executor. `KNOWN` are the backends of
Triton's releases that cannot run here. `ModelSettings` is a read `emulator.yaml`.
"""

from triton_emulator.backends.standins.choice import KNOWN, behaviour, complete, load, stands_in
from triton_emulator.backends.standins.completion import add_given, complete_tensors
from triton_emulator.backends.standins.inline import Hooks
from triton_emulator.backends.standins.settings import FILE_NAME, ModelSettings

__all__ = [
    "FILE_NAME",
    "KNOWN",
    "Hooks",
    "ModelSettings",
    "add_given",
    "behaviour",
    "complete",
    "complete_tensors",
    "load",
    "stands_in",
]
