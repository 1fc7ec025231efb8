"""What is kept of a session: the recording (asciicast v3), and the receipt beside it."""
