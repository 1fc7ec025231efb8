"""As whom a request to the apiserver is made, where it isn't the proxy itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody whom the proxy may impersonate (Kubernetes, "Authenticating: user impersonation").

    Names of ``groups`` may hold commas and spaces: each has a header of its own.
    """

    user: str
    groups: tuple[str, ...] = ()

    def headers(self) -> list[tuple[str, str]]:
        """Those of each request that is made for it."""
        return [("Impersonate-User", self.user), *(("Impersonate-Group", group) for group in self.groups)]
