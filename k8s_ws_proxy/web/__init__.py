"""The shell towards callers: the only floor that imports aiohttp.web."""
