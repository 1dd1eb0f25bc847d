"""Measurements of the gateway beside other proxies, on one machine, over loopback. See README.md here."""
