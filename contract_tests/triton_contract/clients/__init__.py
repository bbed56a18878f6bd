"""Clients that send exactly the bytes they are given and report everything that comes back."""
