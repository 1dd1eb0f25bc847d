"""The Anthropic Messages protocol, sans-I/O."""
