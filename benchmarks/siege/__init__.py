"""`make siege`: what becomes of those who mean well, and of the daemon's memory, while somebody attacks it."""
