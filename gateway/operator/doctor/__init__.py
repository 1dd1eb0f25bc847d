"""`gateway doctor`: checks that prove what the gateway promises, each with what was seen and what to do."""

from gateway.operator.doctor.command import command

__all__ = ["command"]
