"""Chooses accounts for requests, and decides what follows a failure. Sans-I/O; the clock is passed in."""
