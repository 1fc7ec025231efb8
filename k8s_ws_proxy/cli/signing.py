"""How the requests of a command are signed: by which of the two ways, and what they say of who is asking."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from k8s_ws_proxy.cli.identity_headers import groups_header, reason_header, user_header, v2_headers
from k8s_ws_proxy.cli.sign import V1, V2
from k8s_ws_proxy.errors import ProxyError
from k8s_ws_proxy.wire.requests.signing import signed_headers

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping


@dataclass(slots=True)
class Signing:
    """One for all requests of a command: what the first learns of the proxy, the next begin with.

    ``version`` is how to sign, until the proxy wants it otherwise; ``given`` are the options that leave no choice.
    ``who`` are the headers that say who is asking, which only v2 covers. ``say`` tells the person at the keyboard.
    """

    version: str = V2
    given: tuple[str, ...] = ()
    who: Mapping[str, str] = field(default_factory=dict)
    say: Callable[[str], None] = print

    def headers(self, version: str, secret: bytes, method: str, target: str) -> dict[str, str]:
        """Those of one request, signed now; ``target`` is the request line's, as the proxy gets to see it."""
        if version == V1:
            return signed_headers(secret, unquote(target.partition("?")[0]), int(time.time()))
        return v2_headers(secret, method, target, self.who)


def signing(arguments: argparse.Namespace, say: Callable[[str], None]) -> Signing:
    """What the options mean. Raises ProxyError for what can't be said, or not with the credential that is used."""
    said = {"--as": arguments.as_user, "--as-group": arguments.as_group or None, "--reason": arguments.reason}
    who = [option for option, value in said.items() if value is not None]
    if arguments.cert and (who or arguments.sign):
        raise ProxyError(
            f"{(who or ['--sign'])[0]} can't stand beside --cert: a request by certificate isn't signed, "
            "and the certificate says who is asking"
        )
    if who and arguments.sign == V1:
        raise ProxyError(f"{who[0]} can't stand beside --sign {V1}, which covers the path only: leave one of them out")
    return Signing(
        arguments.sign or V2,
        (*who, f"--sign {arguments.sign}") if arguments.sign else tuple(who),
        {
            **user_header("--as", arguments.as_user),
            **groups_header("--as-group", arguments.as_group),
            **reason_header("--reason", arguments.reason),
        },
        say,
    )
