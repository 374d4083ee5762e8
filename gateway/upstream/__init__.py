"""Towards providers: the one place that opens connections."""
