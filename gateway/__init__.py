"""A gateway in front of LLM providers: one key in, any provider or workflow out, every byte as it came."""

__version__ = "0.1.0"
