"""The two ways to drive a call's steps: with threads (httpx) and with asyncio (aiohttp). All I/O is here."""
