"""Who is connected: admission, the session log, and the way down."""
