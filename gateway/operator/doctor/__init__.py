"""`gateway doctor`: checks of what the gateway promises; each reports what it saw and what to do about it."""

from gateway.operator.doctor.command import command

__all__ = ["command"]
