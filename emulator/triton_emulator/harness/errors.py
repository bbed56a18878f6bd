"""The errors of the harness that are no mistakes of what is written."""


class NeedsModels(ValueError):
    """What only an emulator's own models can do, where the answers of a real server or of a cassette pass."""


class NeedsServer(ValueError):
    """What only a real server can do, or another of its ports than those that are known."""
