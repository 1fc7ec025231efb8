"""argv -> argv: a command that joins the shared tmux session, or starts it (docs/reference/settings.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SESSION: Final = "catalyst-ops"

# The requested command is "$@" throughout: no part of it is ever parsed by a shell.
#
# - tmux runs a command of one word through a shell, and one of several words itself: so there are always several,
#   and the shell among them does nothing but exec "$@".
# - tmux takes an argument that ends in ';' for the end of its own command, wherever it came from, unless it ends in
#   '\;' (tmux(1), "Parsing syntax"): so such an argument gets its backslash, and arrives as it was sent.
# - -A attaches where the session exists; its command is then not started again.
# - window-size latest: the window is as large as the client that was used last. Before tmux 3.1 there is no such
#   option; -q keeps it quiet there.
# - tmux dies where it has no place for its socket (a read-only /tmp). has-session starts no server; it says what is
#   wrong with the directory, or names the socket that isn't there yet: then the directory must be one to write in.
# - -u: a container seldom has a locale, its terminal is UTF-8 all the same.
_SCRIPT: Final = rf"""
place() {{
  _said=$(tmux has-session 2>&1) && return
  case $_said in
  */default*)
    _said=/${{_said#*/}}
    _said=${{_said%/default*}}
    [ -w "$_said" ] && return
    _said="$_said can't be written"
    ;;
  */tmux-*) ;;
  *) return ;;
  esac
  _why="tmux has no place for its socket ($_said)"
}}
_why=
if command -v tmux >/dev/null 2>&1; then place; else _why='there is no tmux in this container'; fi
if ! [ "$_why" ]; then
  for argument do
    shift
    case $argument in *\;) argument="${{argument%?}}\\;" ;; esac
    set -- "$@" "$argument"
  done
  TERM=${{TERM:-xterm}}; export TERM
  exec tmux -u new-session -A -s {SESSION} -- \
    sh -c 'exec "$@"' sh "$@" \; set-option -q -w -t {SESSION}: window-size latest
fi
echo "k8s-ws-proxy: $_why; the session is not shared" >&2
exec "$@"
""".strip()


_TOO_LONG: Final = """
echo "k8s-ws-proxy: the command is too long for tmux; the session is not shared" >&2
exec "$@"
""".strip()

# Bytes: a tmux client's message to its server is at most 16 KiB, the words around the command included.
_LONGEST: Final = 15_000


def wrap(command: Sequence[str]) -> tuple[str, ...]:
    """``command`` in the session ``catalyst-ops``; plainly, with one line on stderr, where tmux can't have it."""
    if sum(len(argument.encode("utf-8", "surrogateescape")) + 2 for argument in command) > _LONGEST:
        return ("sh", "-c", _TOO_LONG, "k8s-ws-proxy", *command)
    return ("sh", "-c", _SCRIPT, "k8s-ws-proxy", *command)
