"""What becomes of an upstream's response: relayed, translated, collected, or read whole."""
