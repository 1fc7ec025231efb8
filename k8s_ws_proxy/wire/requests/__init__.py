"""What a request asks for, who signs it, and what it may see."""
