"""Heads, handshakes and bodies."""
