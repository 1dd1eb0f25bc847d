"""Forwards requests to upstreams and their responses to clients."""
