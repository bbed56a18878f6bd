"""The models as the proxy shows them: OpenAI's list, and LiteLLM's `/model/info` without addresses or secrets."""

from collections.abc import Mapping
from typing import Any

from triton_adapter.errors import NotFoundError
from triton_adapter.proxy.config.values import ModelEntry
from triton_adapter.proxy.deployments import Catalog, shortened
from triton_adapter.proxy.keys.auth import Principal

Json = dict[str, Any]


def model_object(name: str, created: int) -> Json:
    """Return OpenAI's object of one model."""
    return {"id": name, "object": "model", "created": created, "owned_by": "triton"}


def list_models(catalog: Catalog, principal: Principal, created: int) -> Json:
    """Return the models that a principal may use."""
    names = [name for name in catalog.names() if _may(catalog, principal, name)]
    if principal.key is not None:
        names += [name for name in principal.key.aliases if name not in names]
    return {"object": "list", "data": [model_object(name, created) for name in names]}


def find_model(catalog: Catalog, principal: Principal, name: str, created: int) -> Json:
    """Return one model. NotFoundError if there is none, or none that the principal may use."""
    aliases: Mapping[str, str] = principal.key.aliases if principal.key is not None else {}
    if name not in catalog.names():
        catalog.find(name, aliases)
    if not _may(catalog, principal, aliases.get(name, name)):
        raise NotFoundError(f"The model '{shortened(name)}' does not exist", param="model")
    return model_object(name, created)


def model_info(catalog: Catalog, principal: Principal) -> Json:
    """Return what LiteLLM's `/model/info` tells of every deployment, without addresses and secrets."""
    entries = [*(one.entry for one in catalog.entries()), *catalog.wildcards()]
    return {"data": [_info(entry) for entry in entries if _may(catalog, principal, entry.name)]}


def _info(entry: ModelEntry) -> Json:
    params: Json = {"model": entry.model}
    for name in ("rpm", "tpm", "weight", "max_parallel"):
        if (value := getattr(entry, name)) is not None:
            params["max_parallel_requests" if name == "max_parallel" else name] = value
    return {
        "model_name": entry.name,
        "litellm_params": params,
        "model_info": {**entry.info, "id": entry.id},
    }


def _may(catalog: Catalog, principal: Principal, name: str) -> bool:
    if principal.key is None:
        return True
    return principal.key.allows(name, catalog.aliases.get(name, name))
