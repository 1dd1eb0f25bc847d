"""The status of a gateway: a document, its changes, the page that shows it, and actions of an operator."""
