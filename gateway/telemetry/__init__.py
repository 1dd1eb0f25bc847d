"""The log and the counters; knows no route."""
