"""RFC 6455 frames, Kubernetes channels in them, and TLS records: where things begin and end."""
