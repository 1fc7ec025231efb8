"""No proxy at all: the client speaks TLS with the source itself."""

from dataclasses import dataclass

from benchmarks.targets.base import TOKEN, Bed, Command


@dataclass(frozen=True)
class Direct:
    name: str = "direct"
    label: str = "no proxy"
    takes_tls: bool = False

    def command(self, bed: Bed) -> Command | None:  # noqa: ARG002 -- nothing is configured
        return None

    def headers(self, path: str) -> dict[str, str]:  # noqa: ARG002 -- the same for all
        return {"Authorization": f"Bearer {TOKEN}"}
