"""argv -> argv: a command that joins the shared tmux session, or starts it (docs/reference/settings.md)."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SESSION: Final = "catalyst-ops"

# The shell in the session's pane, which runs the command and has its exit status told to who started it. $1 is the
# process id of the client that started the session: the shell of _SCRIPT, which becomes that client.
#
# - Only a parent learns a status. tmux is one that can't be asked: before 3.5, where it is built with libutempter, it
#   may miss that a pane's process has ended, and with remain-on-exit the pane then stays for ever. So this shell stays.
# - `detach-client -E` has each client of the session become a shell, process and terminal staying what they are, and
#   $$ there says which. So nothing is stored, and who has left, or was killed, is no concern. They say what a client
#   says; 0 is what they end with anyhow.
# - -E runs the session's default-shell, which for many a user of a container is nologin.
# - Where the session outlives this pane (another window or pane, remain-on-exit) or its clients go on to another
#   (detach-on-destroy), nobody is to be detached. Options are 0 and 1 or off and on, depending on the version.
# - exec in a subshell, as the command mustn't be taken for a builtin. There bash doesn't count SHLVL back by itself.
#   No variable is set before: one of that name may be the container's, and the command's.
# - A trapped signal, unlike an ignored one, is the default again for the command. What a terminal sends to its
#   foreground is the command's to answer, and no reason for this shell to end before it has told the status.
_PANE: Final = r"""
trap : INT QUIT
[ "${BASH_VERSION-}" ] && SHLVL=$((SHLVL - 1))
(shift; exec "$@")
status=$?
[ "$status" = 0 ] || tmux if-shell -F -t "$TMUX_PANE" \
  '#{==:#{session_windows} #{window_panes} #{m:*[0f],#{remain-on-exit}} #{m:*[1n],#{detach-on-destroy}},1 1 1 1}' \
  "set-option -t $TMUX_PANE default-shell '$(command -v sh)' ; detach-client -s $TMUX_PANE -E \
  'echo \"[exited]\"; [ \$\$ = $1 ] || exit 0; exit $status'" </dev/null >/dev/null 2>&1
exit "$status"
""".strip()

# The requested command is "$@" throughout: no part of it is ever parsed by a shell.
#
# - tmux runs a command of one word through a shell, and one of several words itself: so there are always several,
#   _PANE first.
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
    sh -c {shlex.quote(_PANE)} sh "$$" "$@" \; set-option -q -w -t {SESSION}: window-size latest
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
