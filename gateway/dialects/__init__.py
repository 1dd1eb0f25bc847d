"""The dialects: one for each kind of upstream. Sans-I/O."""
