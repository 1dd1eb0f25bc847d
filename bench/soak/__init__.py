"""A soak: some minutes of mixed and misbehaving traffic against the gateway. `python -m bench.soak`."""
