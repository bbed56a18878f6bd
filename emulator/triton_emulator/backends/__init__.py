"""What runs a model: the Python backend, and stand-ins for the backends that need a GPU."""
