"""The process that an interactive exec started, found again after its session's end (docs/observed.md, "What stays").

A container runtime leaves it alive when its client goes. So the command is started by a shell that first says who it
is, in one line that the caller never sees, and then becomes the command: same process, same arguments, same streams.
Process id and start time together name a process for as long as the machine is up; with them a second, short exec can
hang up that one and no other, and several such of the same container. What both say is read by ``greeting.py``.

All of this runs in the container, with its ``sh``. Where there is none, or it doesn't find the command, the line never
comes, the shell ends, and the command is started plainly.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

GRACE: Final = 5  # seconds from the hang-up to the kill
MOST_AT_ONCE: Final = 32  # processes that one exec hangs up
SIZE_WITHIN: Final = 0.2  # seconds for a client's first size to come: a way there and back between two continents
UNFIT: Final = 3  # the shell's exit status where it can't start any command as the runtime would

# $1 is when the container's first process started, if a shell was found fit in it then; the command follows.
#
# - What a shell changes in the environment on its own is taken back where it is known (PWD, OLDPWD, SHLVL; bash's exec
#   says SHLVL, mksh's says _). Then what the command would get is held against what the shell was given: names that are
#   no identifier, IFS or UID, whatever a shell may do to it. If there is a difference, the command isn't started here.
#   That takes four programs, so it is left out in the container in which it has been seen to be right.
#   bash does one thing later: it sets LINES and COLUMNS after a child has ended.
# - All of this runs in a subshell, so that no variable of the container's changes.
# - What is executable is looked for as execvp(3) does, builtins aside: a command that isn't there must fail as it
#   would without us. So must a script without its interpreter, and what is no program: magic number, class, byte order
#   and version are compared with the shell's own, unless it is the shell. They aren't read by `read`, which asks the
#   kernel for each byte up to the first line's end, in a program some thousands.
# - The fields of /proc/PID/stat are stable, and counted after the last parenthesis: a name may hold anything.
# - A terminal is made with the size 0 0, and the client can send its own only after its 101, and so after the line. The
#   command is held for it: the kernel signals a new size to all that are in the terminal's foreground, the subshell
#   among them, and a trapped signal ends `wait` (POSIX, "wait"). Where there is no `sleep`, or none that knows parts of
#   a second, nobody is held.
_INTRODUCE: Final = rf"""
become() {{ exec "$@"; }}
[ "${{BASH_VERSION-}}${{KSH_VERSION-}}" ] && become() {{ exec env -u SHLVL -u _ "$@"; }}
unset PWD OLDPWD SHLVL
(
  same() {{ [ "$1" ] && [ "$1" = "$2" ]; }}
  born() {{ read -r stat <"/proc/$1/stat" && set -- ${{stat##*') '}} && echo "${{20}}"; }}
  magic() {{ head -c 7 <"$1"; }}
  same "$1" "$(born 1)" ||
    same "$(tr '\0' '\n' <"/proc/$$/environ" | sort)" "$(become env | sort)" ||
    exit {UNFIT}
  [ "${{BASH_VERSION-}}" ] && [ "${{LINES-}}${{COLUMNS-}}" ] && exit {UNFIT}
  shift
  set -f
  case $1 in
  -* | *=*) exit 127 ;;
  */*) file=$1 ;;
  *)
    IFS=:
    for directory in ${{PATH-}}; do
      file=${{directory:-.}}/$1
      [ -f "$file" ] && [ -x "$file" ] && break
    done
    unset IFS
    ;;
  esac
  [ -f "$file" ] && [ -x "$file" ] || exit 127
  if ! [ "$file" -ef "/proc/$$/exe" ]; then
    mine=$(magic "/proc/$$/exe")
    [ "$mine" ] || exit {UNFIT}
    first=$(magic "$file")
    case $first in '#!'*)
      read -r first <"$file"
      set -- ${{first#??}}
      [ -f "$1" ] && [ -x "$1" ] || exit 127
      first=$(magic "$1")
      ;;
    esac
    same "$first" "$mine" || exit 127
  fi
  started=$(born $$)
  [ "$started" ] || exit
  size=
  trap size=1 WINCH
  echo "k8s-ws-proxy: process $$ $started $(born 1)"
  if [ -t 1 ]; then
    sleep {SIZE_WITHIN} &
    [ "$size" ] || wait $!
    kill $!
    wait $!
  fi
  exit 0
) 2>/dev/null || exit
shift
become "$@"
"""

# $1 is the grace, and then each process: its id, a colon, its start time. A process's name may hold anything, so the
# fields are counted after its last parenthesis: state is 1, process group 3, session 4, threads 18, start time 20.
# What has ended and only waits to be collected is gone, unless it is its first thread alone that has ended.
#
# It is hung up and, were it stopped, continued, as a terminal that vanishes does it. What has become somebody else's
# (sudo) can't be hung up by the container's own user: that is said, and nothing more can be done. After the grace its
# group is killed, if it is still there (`kill -KILL -PID` is the one spelling that dash, bash, mksh and busybox all
# take). If it is gone and others of its group are not, only those are that were there before the hang-up: by then the
# number may have begun to mean something else.
_HANG_UP: Final = r"""
look() {
  line=
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  case $line in *') '*) ;; *) return 1 ;; esac
  set -f
  set -- ${line##*') '}
  set +f
  case $1${18} in [ZX][01]) return 1 ;; esac
  group=$3 session=$4 born=${20}
}
is_it() {
  pid=${1%:*}
  look "$pid" && [ "$born" = "${1#*:}" ]
}
grace=$1 left=
shift
look $$ && now=$born || exit 0
for each do
  if ! is_it "$each"; then
    echo gone
  elif kill -HUP "$pid" 2>/dev/null; then
    echo "hung up"
    kill -CONT "$pid" 2>/dev/null
    left="$left $each"
  elif is_it "$each"; then
    echo failed
  else
    echo gone
  fi
done
exec >/dev/null 2>&1
any() {
  for each do
    kill -0 "-${each%:*}" && return
  done
  return 1
}
command -v sleep || grace=0
while [ "$grace" -gt 0 ] && any $left; do
  sleep 1
  grace=$((grace - 1))
done
for each in $left; do
  if is_it "$each"; then
    [ "$group" = "$pid" ] && kill -KILL "-$pid" || kill -KILL "$pid"
  elif kill -0 "-$pid" && ! look "$pid"; then
    for directory in /proc/[0-9]*; do
      one=${directory#/proc/}
      look "$one" && [ "$group" = "$pid" ] && [ "$session" = "$pid" ] && [ "$born" -le "$now" ] && kill -KILL "$one"
    done
  fi
done
exit 0
"""


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a container: its id there, and when it started, in ticks since the machine did."""

    pid: str
    started: str


class Place(NamedTuple):
    """A container of a pod, by the pod's own name. ``container`` None means the pod's default container."""

    namespace: str
    pod: str
    container: str | None


def introduced(command: Sequence[str], fit: str = "") -> tuple[str, ...]:
    """``command``, started by a shell that says first which process it is.

    ``fit`` is what a Greeting had in this container before: if it is the same one still, its shell will do.
    """
    return ("sh", "-c", _sent(_INTRODUCE), "sh", fit or "-", *command)  # an empty argument is easily lost on a long way


def hang_up(processes: Sequence[Process]) -> tuple[str, ...]:
    """A command that ends ``processes``, MOST_AT_ONCE at most, from within their container.

    It says ``gone``, ``failed``, or ``hung up`` for each, a line each, in their order, and then waits.
    """
    each = (f"{process.pid}:{process.started}" for process in processes)
    return ("sh", "-c", _sent(_HANG_UP), "sh", str(GRACE), *each)


@functools.cache
def _sent(script: str) -> str:
    """As it is sent: it stands in the apiserver's audit log, and before whoever admits commands, so without indents."""
    return "\n".join(line.strip() for line in script.strip().splitlines())
