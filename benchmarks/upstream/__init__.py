"""A TLS source and sink that speaks just enough of pods/exec, and costs as little as Python can."""
