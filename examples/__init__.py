"""Short programs and model repositories that the README and the documents run."""
