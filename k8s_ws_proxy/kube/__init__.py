"""The apiserver: where it is, how to speak to it, and the dial."""
