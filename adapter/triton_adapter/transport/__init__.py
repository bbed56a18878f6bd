"""The two ways to drive a call's steps: with threads (httpx) and on an event loop (httptools). All I/O is here."""
