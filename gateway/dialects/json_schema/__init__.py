"""JSON Schemas of tools and structured outputs: what all translated dialects have in common."""
