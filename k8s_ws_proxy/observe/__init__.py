"""Logging, metrics, and the one place that starts tasks."""
