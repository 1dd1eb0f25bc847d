"""Who serves a request, and what a failure means; sans-I/O, the clock is passed in."""
