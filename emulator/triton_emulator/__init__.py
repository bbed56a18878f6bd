"""A faithful NVIDIA Triton Inference Server without a GPU and without Docker."""
