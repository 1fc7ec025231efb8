"""The audit trail's ways out: stderr, a file, NATS JetStream. What stands in it is wire/audit."""
