"""A local HTTP gateway that speaks the Anthropic Messages API to its clients."""

__version__ = "0.1.0"
