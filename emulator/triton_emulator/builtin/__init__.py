"""The model repository that is served when none is named: an ordinary one, which the real server loads as well."""

from pathlib import Path

#: The repository's folder.
REPOSITORY = Path(__file__).parent / "models"
