"""Model folders for tests that need no recorded answer, and a loader that records its calls."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from emulator.tests.repository.config_case import BATCHING, IO
from triton_emulator.repository.config.model_config import ModelConfig
from triton_emulator.repository.labels import Labels
from triton_emulator.repository.repository import Options, Repository

Index = list[dict[str, str]]


def write_model(repository: Path, name: str, config: str = BATCHING, versions: Sequence[int] = (1,)) -> Path:
    """A model folder with an empty `model.py` per version. `Loader` fails with the text that a test writes into it."""
    folder = repository / name
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config, encoding="utf-8")
    for version in versions:
        (folder / str(version)).mkdir()
        (folder / str(version) / "model.py").write_text("", encoding="utf-8")
    return folder


def ensemble_config(member: str, version: int = -1) -> str:
    """An ensemble of one step."""
    return (
        'platform: "ensemble"\nmax_batch_size: 8\n' + IO + "ensemble_scheduling { step { "
        f'model_name: "{member}" model_version: {version} '
        'input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "OUT" } } }\n'
    )


class Model:
    """The model that `Loader` makes. `finalize` waits until `idle` is set, and sets `finalized`."""

    def __init__(self, name: str, version: int, config: ModelConfig, directory: Path) -> None:
        self.name = name
        self.version = version
        self.config = config
        self.directory = directory
        self.finalized = False
        self.idle = threading.Event()
        self.idle.set()

    def finalize(self) -> None:
        assert self.idle.wait(timeout=60)
        self.finalized = True


class Loader:
    """Loads any model. One whose model.py holds a text fails with that text. One in `gates` waits for its gate."""

    def __init__(self) -> None:
        self.loaded: list[tuple[str, int]] = []
        self.gates: dict[str, threading.Event] = {}
        self.entered = threading.Semaphore(0)

    def __call__(
        self, name: str, version: int, config: ModelConfig, directory: Path, labels: Labels, namespace: str
    ) -> Model:
        self.entered.release()
        if name in self.gates:
            assert self.gates[name].wait(timeout=60)
        program = directory / str(version) / "model.py"
        if program.exists() and (text := program.read_text(encoding="utf-8")):
            raise RuntimeError(text)
        self.loaded.append((name, version))
        return Model(name, version, config, directory)


def serve(
    *paths: Path,
    mode: Literal["none", "poll", "explicit"] = "none",
    load_models: Sequence[str] = (),
    strict_readiness: bool = True,
    loader: Loader | None = None,
    namespacing: bool = False,
) -> Repository[Model]:
    """A repository over folders, not yet started."""
    options = Options(paths, mode, load_models, strict_readiness, namespacing=namespacing)
    return Repository(options, loader or Loader(), unload_version=Model.finalize)


def index_of(repository: Repository[Model], *, ready: bool = False) -> Index:
    """The index as the HTTP frontend prints it."""
    return [row.as_dict() for row in repository.index(ready=ready)]
