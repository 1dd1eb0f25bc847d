"""What processes that serve the same accounts exchange; the core is sans-I/O, the transports are thin.

Imported only if there are several processes.
"""
