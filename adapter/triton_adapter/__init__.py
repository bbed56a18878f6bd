"""OpenAI calls to Triton and back. Not released yet."""
