"""The I/O shell around ``wire.rules.relay``: sockets, readiness, back-pressure."""
