"""Converts tools' JSON Schemas to the subset that Gemini understands."""
