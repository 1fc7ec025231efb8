"""Pure functions and state machines: bytes, numbers and "now" come in, values come out."""
