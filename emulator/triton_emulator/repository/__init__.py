"""The model repository: `config.pbtxt`, versions, load and unload, the index."""
