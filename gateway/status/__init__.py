"""How a gateway is, and what an operator may do about it: a document, its changes, the page that shows it, actions."""
