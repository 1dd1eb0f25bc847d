"""What an operator asks of the gateway: a Config or a Gateway -> a report -> text."""
