"""The dialect of Google's Gemini API, sans-I/O."""
