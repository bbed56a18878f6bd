"""What a model is and which models are served: `config.pbtxt`, versions, load and unload, the index."""
