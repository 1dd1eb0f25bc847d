"""JSON Schemas of tools and structured outputs, as far as every translated dialect treats them alike."""
