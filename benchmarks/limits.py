"""Open files: thousands of sessions are held on both sides of each target."""

import resource


def raise_open_files() -> int:
    """Raise the soft limit to the hard one; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
