"""HTTP/1.1 over asyncio; knows no LLM."""
