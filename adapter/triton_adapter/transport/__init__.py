"""How a call's steps are driven: on an event loop, or on one in a thread for callers that block. All I/O is here."""
