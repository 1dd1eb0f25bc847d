"""Gets a response from an upstream and hands it to the client."""
