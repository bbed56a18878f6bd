"""A model's metadata as JSON, the body of `GET /v2/models/<m>`."""

from collections.abc import Iterable, Sequence

from triton_emulator.protocol import json_dialect
from triton_emulator.repository.config.model_config import ModelConfig, TensorSpec


def metadata_platform(config: ModelConfig) -> str:
    """The platform that metadata shows: the config's, the backend's name where it has none."""
    return config.platform or config.backend


def metadata_json(config: ModelConfig, versions: Iterable[int]) -> bytes:
    """`versions` are the model's ready ones, ascending, or the one that the request names."""
    return json_dialect.write(
        {
            "name": config.name,
            "versions": [str(version) for version in versions],
            "platform": metadata_platform(config),
            "inputs": _tensors(config.inputs),
            "outputs": _tensors(config.outputs),
        }
    )


def _tensors(specs: Sequence[TensorSpec]) -> list[object]:
    return [{"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)} for spec in specs]
