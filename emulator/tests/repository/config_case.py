"""A model folder as a value, and the texts that the cases share."""

from dataclasses import dataclass, field
from pathlib import Path

#: a model.py that does nothing
MODEL_PY = "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"
#: a model.py that answers, as a warm-up needs it
ANSWERING_MODEL_PY = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUT", pb_utils.get_input_tensor_by_name(r, "IN").as_numpy())])
            for r in requests
        ]
"""

IO = """
input { name: "IN" data_type: TYPE_FP32 dims: 4 }
output { name: "OUT" data_type: TYPE_FP32 dims: 4 }
"""
PYTHON = 'backend: "python"\n'
BATCHING = PYTHON + "max_batch_size: 8\n" + IO


@dataclass(frozen=True)
class ConfigCase:
    """One model folder: its `config.pbtxt` (None: there is none) and its other files."""

    config: str | None
    files: dict[str, str] = field(default_factory=lambda: {"1/model.py": MODEL_PY})
    folders: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        if self.config is not None:
            (folder / "config.pbtxt").write_text(self.config, encoding="utf-8")
        for name in self.folders:
            (folder / name).mkdir(parents=True)
        for name, text in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
