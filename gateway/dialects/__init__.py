"""How each kind of upstream speaks, sans-I/O."""
