"""Upstreams that speak OpenAI's chat completions, or something near it."""
