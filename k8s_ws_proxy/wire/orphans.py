"""The process that an interactive exec started, found again after its session's end (apiserver-facts, last section).

A container runtime leaves it alive when its client goes. So the command is started by a shell that first says who it
is, in one line that the caller never sees, and then becomes the command: same process, same arguments, same streams.
Process id and start time together name a process for as long as the machine is up; with them a second, short exec can
hang up that one and no other.

All of this runs in the container, with its ``sh``. Where there is none, or it doesn't find the command, the line never
comes, the shell ends, and the command is started plainly.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.wire import channels, frames

if TYPE_CHECKING:
    from collections.abc import Sequence

GRACE: Final = 5  # seconds from the hang-up to the kill
LONGEST_GREETING: Final = 65_536  # bytes before the line: whoever says more isn't the shell that was started
LONGEST_ANSWER: Final = 4_096  # bytes that a hang-up may say, framing included; it has a dozen to say
SIZE_WITHIN: Final = 0.2  # seconds for a client's first size to come: a way there and back between two continents
_UNFIT: Final = 3  # the shell's exit status where it can't start any command as the runtime would

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
    exit {_UNFIT}
  [ "${{BASH_VERSION-}}" ] && [ "${{LINES-}}${{COLUMNS-}}" ] && exit {_UNFIT}
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
    [ "$mine" ] || exit {_UNFIT}
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

# $1 is the process id, $2 its start time, $3 the grace. A process's name may hold anything, so the fields are counted
# after its last parenthesis: state is 1, process group 3, session 4, start time 20.
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
  group=$3 session=$4 born=${20}
}
is_it() { look "$pid" && [ "$born" = "$started" ]; }
pid=$1 started=$2 grace=$3
look $$ && now=$born || exit 0
is_it || { echo gone; exit 0; }
if ! kill -HUP "$pid" 2>/dev/null; then
  is_it && echo failed || echo gone
  exit 0
fi
echo "hung up"
kill -CONT "$pid" 2>/dev/null
exec >/dev/null 2>&1
command -v sleep || grace=0
while [ "$grace" -gt 0 ] && kill -0 "-$pid"; do
  sleep 1
  grace=$((grace - 1))
done
if is_it; then
  [ "$group" = "$pid" ] && kill -KILL "-$pid" || kill -KILL "$pid"
elif kill -0 "-$pid" && ! look "$pid"; then
  for directory in /proc/[0-9]*; do
    each=${directory#/proc/}
    look "$each" && [ "$group" = "$pid" ] && [ "$session" = "$pid" ] && [ "$born" -le "$now" ] && kill -KILL "$each"
  done
fi
exit 0
"""

_LINE: Final = re.compile(rb"k8s-ws-proxy: process ([0-9]{1,10}) ([0-9]{1,20}) ([0-9]{0,20})\r?\n")
# Runtimes name the program that they don't find: `exec: "sh": executable file not found in $PATH`, or as crun puts it,
# "executable file `sh` not found in $PATH".
_NO_SHELL: Final = re.compile(r"""["'`/]sh["'`].*(not found|no such file)""", re.IGNORECASE | re.DOTALL)
_LONGEST_LINE: Final = 80  # bytes of what _LINE finds


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a container: its id there, and when it started, in ticks since the machine did."""

    pid: str
    started: str


class NotStarted(Exception):
    """The shell ended before it had become the command. ``unfit``: it is certain that it can start none here."""

    def __init__(self, *, unfit: bool = False) -> None:
        super().__init__("the shell ended")
        self.unfit = unfit


class SaysTooMuch(Exception):
    """What answers isn't the shell that hangs up."""


def introduced(command: Sequence[str], fit: str = "") -> tuple[str, ...]:
    """``command``, started by a shell that says first which process it is.

    ``fit`` is what a Greeting had in this container before: if it is the same one still, its shell will do.
    """
    return ("sh", "-c", _sent(_INTRODUCE), "sh", fit or "-", *command)  # an empty argument is easily lost on a long way


def hang_up(process: Process) -> tuple[str, ...]:
    """A command that ends ``process`` from within its container.

    It says ``gone``, ``failed``, or ``hung up``, and then waits.
    """
    return ("sh", "-c", _sent(_HANG_UP), "sh", process.pid, process.started, str(GRACE))


@functools.cache
def _sent(script: str) -> str:
    """As it is sent: it stands in the apiserver's audit log, and before whoever admits commands, so without indents."""
    return "\n".join(line.strip() for line in script.strip().splitlines())


class Greeting:
    """What the apiserver sends until the shell has introduced itself. Bytes in, the process out.

    ``rest`` is then what the caller is to get: all that came but the line, and what the shell said before it (bash
    complains of a locale that isn't there).
    """

    def __init__(self) -> None:
        self._buffer = b""  # of a message that isn't there as a whole
        self._passed = bytearray()  # whole messages that are the caller's
        self._line = bytearray()
        self.process: Process | None = None
        self.fit = ""  # when the first process of the container started, in ticks; the shell is fit for that one

    @property
    def rest(self) -> bytes:
        """Whole messages, and perhaps the beginning of one."""
        said = frames.frame(frames.BINARY, bytes((channels.STDOUT,)) + bytes(self._line)) if self._line else b""
        return bytes(self._passed) + said + self._buffer

    @property
    def strange(self) -> bool:
        """Something else was said. A shell may: then its line comes right after it."""
        return bool(self._line)

    def take(self, data: bytes) -> bool:
        """Whether it is over: ``process`` is known, or never will be. Raises NotStarted, or FrameViolation."""
        data, pos = self._buffer + data, 0
        while (head := frames.parse_header(data, pos, len(data), masked=False)) is not None:
            body, after = pos + head.size, pos + head.size + head.length
            if after > len(data):
                break
            if head.opcode == frames.CLOSE or data[body : min(body + 1, after)] == bytes((channels.STATUS,)):
                self._buffer = data[pos:]
                raise NotStarted(unfit=_unfit(channels.parse_status(data[body + 1 : after])))
            pos_before, pos = pos, after
            said = head.opcode == frames.BINARY and head.fin and data[body : body + 1] == bytes((channels.STDOUT,))
            if said and head.length > 1:
                if self._introduced(data[body + 1 : after]):
                    self._buffer = data[pos:]
                    return True
            else:
                self._passed += data[pos_before:after]
        self._buffer = data[pos:]
        return len(self._line) + len(self._passed) + len(self._buffer) > LONGEST_GREETING

    def _introduced(self, said: bytes) -> bool:
        before = len(self._line)
        self._line += said
        # The line ends in what has just come, so it can't begin much before that.
        if (found := _LINE.search(self._line, max(0, before - _LONGEST_LINE))) is None:
            return False
        pid, started, self.fit = (field.decode() for field in found.groups())
        self.process = Process(pid, started)
        del self._line[: found.end()]
        return True


def _unfit(status: dict[str, Any] | None) -> bool:
    """Whether the end of a shell says that there is none, or none that will do; anything else may pass."""
    if status is None:
        return False
    code = channels.exit_code(status)
    return code == _UNFIT or (code is None and _NO_SHELL.search(str(status.get("message", ""))) is not None)


class Answer:
    """What hang_up() says. Bytes in, ``gone``, ``hung_up`` or ``failed`` out.

    Whoever speaks isn't to be trusted: it is the container's ``sh``, and may say anything, for ever.
    """

    def __init__(self) -> None:
        self._taken = 0
        self._buffer = b""  # of a message that isn't there as a whole
        self._said = b""

    def take(self, data: bytes) -> str | None:
        """None if nothing was said yet. Raises NotStarted, FrameViolation, or SaysTooMuch."""
        data, pos = self._buffer + data[: LONGEST_ANSWER - self._taken], 0
        self._taken += len(data) - len(self._buffer)
        while (head := frames.parse_header(data, pos, len(data), masked=False)) is not None:
            body, after = pos + head.size, pos + head.size + head.length
            if after > len(data):
                break
            pos = after
            channel = data[body : min(body + 1, after)]
            if head.opcode == frames.CLOSE or channel == bytes((channels.STATUS,)):
                raise NotStarted
            if channel == bytes((channels.STDOUT,)) and head.opcode in (frames.BINARY, frames.TEXT):
                self._said += data[body + 1 : after]
                if b"\n" in self._said:
                    line = self._said[: self._said.index(b"\n") + 1]
                    return {b"gone\n": "gone", b"failed\n": "failed"}.get(line, "hung_up")
        self._buffer = data[pos:]
        if self._taken >= LONGEST_ANSWER:
            raise SaysTooMuch(f"it says more than {LONGEST_ANSWER} bytes")
        return None
