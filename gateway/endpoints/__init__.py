"""One file for each route: reads a request, decides what to do, responds."""
