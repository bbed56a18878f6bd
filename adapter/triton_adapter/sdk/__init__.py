"""The functions that a program calls, with LiteLLM's call shape."""
