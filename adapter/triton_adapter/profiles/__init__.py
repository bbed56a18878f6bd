"""Each backend's names for inputs and outputs, one table per backend, and the binding of a table to a model."""

from triton_adapter.errors import BadRequestError
from triton_adapter.profiles.custom import CUSTOM
from triton_adapter.profiles.profile import Profile
from triton_adapter.profiles.trtllm import TRTLLM
from triton_adapter.profiles.trtllm_llmapi import TRTLLM_LLMAPI
from triton_adapter.profiles.vllm import VLLM
from triton_adapter.triton.discovery import ModelInfo

# In the order in which they are tried: the first whose `marks` the model carries.
PROFILES: dict[str, Profile] = {profile.name: profile for profile in (VLLM, TRTLLM_LLMAPI, TRTLLM, CUSTOM)}


def choose(info: ModelInfo, name: str | None = None) -> Profile:
    """Return the profile called `name`, else the one whose tensors the model has."""
    if name:
        if name not in PROFILES:
            known = ", ".join(sorted(PROFILES))
            raise BadRequestError(f"unknown profile '{name}': use one of {known}", param="profile")
        return PROFILES[name]
    for profile in PROFILES.values():
        if profile.fits(info):
            return profile
    return CUSTOM
