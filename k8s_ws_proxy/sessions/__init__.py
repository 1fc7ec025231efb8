"""Who is connected: admission, the books, and the way down."""
