"""The I/O shell around ``wire.relay``: sockets, readiness, back-pressure."""
