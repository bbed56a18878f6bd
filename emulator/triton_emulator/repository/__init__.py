"""What a model is on disk: its configuration, its versions, and whether it is loaded."""
