"""Recordings on the disk: written as a session goes on, finished when it has ended, found again after a crash."""
