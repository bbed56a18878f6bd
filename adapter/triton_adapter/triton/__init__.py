"""Triton's side of the adapter: its v2 codec, its event streams, its errors and its URLs."""
