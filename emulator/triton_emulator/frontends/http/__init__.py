"""Triton's HTTP side: one ASGI callable, a table of routes, and a handler for each."""
