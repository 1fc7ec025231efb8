"""What a session does on data, ends, ticks and a drain."""
