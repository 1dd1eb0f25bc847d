"""JSON Schema as tools declare it -> the subset that Gemini understands."""
