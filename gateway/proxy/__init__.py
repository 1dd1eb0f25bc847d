"""Gets an answer from an upstream and hands it to the client."""
