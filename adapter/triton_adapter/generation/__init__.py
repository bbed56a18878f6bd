"""Chat and text completions: from an OpenAI body to a prompt, and from a model's responses to a reply or chunks."""
