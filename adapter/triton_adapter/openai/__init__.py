"""OpenAI's side of the adapter: what a request may hold, and the replies, chunks and events that answer it."""
