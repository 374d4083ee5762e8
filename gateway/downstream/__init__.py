"""Towards clients: the one place that knows `aiohttp.web`."""
