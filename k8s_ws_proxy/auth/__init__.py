"""Request -> Principal, or a refusal."""
