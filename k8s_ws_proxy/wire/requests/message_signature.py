"""HTTP Message Signatures (RFC 9421) as far as signing v2 needs them: parsing, the signature base, the MAC.

What a signature must cover and how old it may be is decided in ``signing_v2``; here is only what the RFC says of every
signature made with ``hmac-sha256``. The fields' syntax (RFC 9651) is http-sf's.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import http_sf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

INPUT_HEADER: Final = "Signature-Input"
SIGNATURE_HEADER: Final = "Signature"
ALGORITHM: Final = "hmac-sha256"
LONGEST: Final = 4096
"""Bytes of either field: parsing takes its time, and whoever sends one isn't known yet."""
_MOST_PIECES: Final = 128  # separators: it is the number of small things that parsing takes its time for
_MAC: Final = 32  # bytes
_DEFAULT_PORTS: Final = {"https": ":443", "http": ":80"}


class BadSyntax(Exception):
    """The fields are none of one signature; the text says why."""


class HasParameters(Exception):
    """A covered component has parameters, which none has here."""


class NotThere(Exception):
    """A covered component isn't one of this message's; ``args[0]`` is its name."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request, as far as a signature may cover it.

    ``target`` is the request line's, untouched; ``fields`` gives the values of a field, in their order, by its name in
    lower case. ``scheme`` is that of the connection.
    """

    method: str
    target: str
    fields: Callable[[str], Sequence[str]]
    scheme: str = "http"

    def component(self, name: str) -> str:
        """The value of a component without parameters (RFC 9421 §2.1, §2.2). Raises NotThere."""
        path, _, query = self.target.partition("?")
        match name:
            case "@method":
                return self.method
            case "@path":
                return path or "/"
            case "@query":
                return f"?{query}"
            case "@authority":
                return self._field("host").lower().removesuffix(_DEFAULT_PORTS[self.scheme])
            case _ if name.startswith("@"):
                raise NotThere(name)
        return self._field(name)

    def _field(self, name: str) -> str:
        if not (values := self.fields(name)):
            raise NotThere(name)
        return ", ".join(value.strip(" \t") for value in values)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature, as its two fields say it. ``covered`` are the names of its components, none with parameters.

    ``parameters`` are those of RFC 9421 §2.3 and whatever else there is. ``mac`` has no place in ``repr``.
    """

    covered: tuple[str, ...]
    parameters: dict[str, Any]
    mac: bytes

    def __repr__(self) -> str:
        """Without the MAC, which is a credential."""
        return f"Signature({', '.join(self.covered)})"


def parse(inputs: Sequence[str], signatures: Sequence[str]) -> Signature:
    """The one signature in the values of ``Signature-Input`` and ``Signature``. Raises BadSyntax or HasParameters.

    Nothing in them may come twice: a dictionary's last member of a name would win (RFC 9651 §4.2.2), and what stands
    between might see the first.
    """
    label, entry = _only_member(INPUT_HEADER, inputs)
    if not isinstance(entry[0], list):
        raise BadSyntax(f"{INPUT_HEADER} must hold a list of components in parentheses.")
    covered = []
    for name, parameters in entry[0]:
        if type(name) is not str:
            raise BadSyntax(f"A component in {INPUT_HEADER} must be a name in quotation marks.")
        if parameters:
            raise HasParameters
        covered.append(name)
    signed, item = _only_member(SIGNATURE_HEADER, signatures)
    if signed != label:
        raise BadSyntax(f"{INPUT_HEADER} and {SIGNATURE_HEADER} must have the same label.")
    if type(item[0]) is not bytes or len(item[0]) != _MAC:
        raise BadSyntax(f"{SIGNATURE_HEADER} must hold the {_MAC} bytes of an HMAC-SHA256 in base64 between colons.")
    return Signature(tuple(covered), entry[1], item[0])


def signature_base(message: Message, covered: Iterable[str], parameters: dict[str, Any]) -> bytes:
    """What is signed (RFC 9421 §2.5). Raises NotThere."""
    names = list(covered)
    lines = [f'"{name}": {message.component(name)}' for name in names]
    lines.append(f'"@signature-params": {signature_params(names, parameters)}')
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def signature_params(covered: Sequence[str], parameters: dict[str, Any]) -> str:
    """The value of ``@signature-params`` (RFC 9421 §2.3), which is also a member of ``Signature-Input``."""
    components: Any = ([(name, {}) for name in covered], parameters)
    return http_sf.ser({"s": components}).removeprefix("s=")


def mac(secret: bytes, base: bytes) -> bytes:
    """``hmac-sha256`` (RFC 9421 §3.3.3)."""
    return hmac.digest(secret, base, "sha256")


def _only_member(header: str, values: Sequence[str]) -> tuple[str, Any]:
    if len(values) != 1:
        raise BadSyntax(f"{header} is missing." if not values else f"{header} may come only once.")
    data = values[0].encode("utf-8", "surrogateescape")
    if len(data) > LONGEST:
        raise BadSyntax(f"{header} may have at most {LONGEST} bytes.")
    if sum(map(data.count, (b" ", b";", b","))) > _MOST_PIECES:
        raise BadSyntax(f"{header} has too many parts.")
    try:
        members: Any = http_sf.parse(data, tltype="dictionary", on_duplicate_key=_refuse_twice)
    except (http_sf.StructuredFieldError, ValueError) as error:
        raise BadSyntax(f"{header} isn't a dictionary of Structured Fields (RFC 9651).") from error
    if len(members) != 1:
        raise BadSyntax(f"{header} must hold exactly one signature.")
    ((label, member),) = members.items()
    return label, member


def _refuse_twice(_key: str, _context: str) -> None:
    raise BadSyntax("Nothing in the signature's fields may come twice.")
