"""The errors of the harness that are no mistakes of what is written."""


class NeedsModels(ValueError):
    """What only an emulator's own models can do, where the answers of a real server or of a cassette pass."""
