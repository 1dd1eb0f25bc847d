"""One file a route: reads a request, says what to do, responds."""
