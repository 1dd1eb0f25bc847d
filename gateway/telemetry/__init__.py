"""Counts and logs; knows no route."""
