"""What processes that serve the same clients tell each other; the core is sans-I/O, the transports are thin.

Loaded only where there are several processes: with one, none of this is imported.
"""
