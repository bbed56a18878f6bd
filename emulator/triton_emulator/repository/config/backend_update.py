"""What a backend may change of a model's config when it completes it (core 2.51 TritonModel::UpdateModelConfig)."""

import json
from collections.abc import Mapping
from typing import Any

from triton_emulator.protocol.errors import not_found
from triton_emulator.repository.config.completion import complete_policies
from triton_emulator.repository.config.from_json import fill_config
from triton_emulator.repository.schema import Proto


def update_config(config: Proto, update: Mapping[str, Any]) -> None:
    """Apply, in place, what `pb_utils.ModelConfig.as_dict()` holds after `auto_complete_config`.

    Only the batch size, the tensors, the scheduler (where there is none yet) and the transaction policy are applied.
    Raises NOT_FOUND where `update` is not a config, for example because of a datatype that does not exist: 2.51 then
    continues as if the model had no config.
    """
    try:
        new = type(config)()  # a message of another version's schema cannot be copied from
        fill_config(new, json.dumps(update))
    except (ValueError, TypeError):
        raise not_found(f"model configuration is not provided for model '{config.name}'") from None
    config.max_batch_size = new.max_batch_size
    for tensors in ("input", "output"):
        config.ClearField(tensors)
        getattr(config, tensors).MergeFrom(getattr(new, tensors))
    scheduler = new.WhichOneof("scheduling_choice")
    if scheduler and not config.WhichOneof("scheduling_choice"):
        getattr(config, scheduler).CopyFrom(getattr(new, scheduler))
    if new.HasField("model_transaction_policy"):
        config.model_transaction_policy.CopyFrom(new.model_transaction_policy)
    complete_policies(config)
