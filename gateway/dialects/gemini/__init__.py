"""Google's Gemini API behind the Messages protocol, sans-I/O."""
