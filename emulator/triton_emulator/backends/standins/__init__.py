"""Stand-ins: answers made from a model's configuration, for backends that cannot run here.

`stands_in` says whether a model is answered this way, `complete` adds to its configuration what its backend would add,
`load` makes the executor. `ModelSettings` is a read `emulator.yaml`.
"""

from triton_emulator.backends.standins.choice import complete, load, stands_in
from triton_emulator.backends.standins.inline import Hooks
from triton_emulator.backends.standins.settings import FILE_NAME, ModelSettings, SettingsError

__all__ = ["FILE_NAME", "Hooks", "ModelSettings", "SettingsError", "complete", "load", "stands_in"]
