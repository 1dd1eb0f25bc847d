"""The operator's commands: each turns a Config or a running gateway into a report, and prints it."""
