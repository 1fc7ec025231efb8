"""Every node's sessions: each pod of the DaemonSet is asked through the apiserver's pod proxy, so many at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.cli.answers import advice, printable
from k8s_ws_proxy.cli.client import upgraded_by
from k8s_ws_proxy.cli.connection import Connection
from k8s_ws_proxy.cli.identity_headers import node_header, v2_headers
from k8s_ws_proxy.cli.sessions_source import PATH, Silent, joining, object_in, sessions_in, several, target_of
from k8s_ws_proxy.cli.sessions_table import MalformedAnswer
from k8s_ws_proxy.cli.sign import V2
from k8s_ws_proxy.cli.through import Through
from k8s_ws_proxy.errors import ClusterApiTimeout, ProxyError, Reason
from k8s_ws_proxy.rotation.api import is_status, path_of, refusal_in, told, unreached
from k8s_ws_proxy.rotation.pods import list_pods
from k8s_ws_proxy.rotation.secret import refused
from k8s_ws_proxy.rotation.wording import count

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from k8s_ws_proxy.cli.client import Upgraded
    from k8s_ws_proxy.cli.sessions_source import SessionJson, Take
    from k8s_ws_proxy.cli.signing import Signing
    from k8s_ws_proxy.rotation.api import Answer, Api
    from k8s_ws_proxy.rotation.fleet import Pod
    from k8s_ws_proxy.rotation.pods import Daemons

_ANSWER: Final = 5.0  # seconds for a pod
_LARGEST: Final = 8 << 20  # bytes of a pod's answer: what all that are under way hold is a multiple of it
_GOOD: Final = (200, 202)
_SIGN_ANEW: Final = frozenset((Reason.EXPIRED.value, Reason.REPLAYED.value))
_NOT_THERE: Final = Reason.NO_SUCH_SESSION.value
_NO_API: Final = Reason.BAD_PATH.value
_NOT_YOURS: Final = Reason.ACCESS_DENIED.value


class Fleet:
    """The pods of ``daemons``. ``at_once`` are asked at a time, and all of them within ``within`` seconds."""

    interval = 5.0

    def __init__(
        self, api: Api, daemons: Daemons, signing: Signing, secret: bytes, *, at_once: int, within: float
    ) -> None:
        self._api = api
        self._daemons = daemons
        self._signing = signing
        self._secret = secret
        self._at_once = at_once
        self._within = within
        self._home: Pod | None = None  # of the session that was looked for last
        self.silent: list[Silent] = []
        self.asked = 0
        self.first = ""

    def now(self) -> float:
        """The apiserver's clock."""
        return self._api.now()

    async def gather(self, wanted: Mapping[str, str], take: Take) -> None:
        """Hand ``take`` each pod's. Raises ClusterApiError."""
        target = target_of(PATH, wanted)

        async def one(pod: Pod) -> None:
            answer = await self._heard(pod, "GET", target)
            if answer is not None:
                take([{**session, "node": pod.node} for session in sessions_in(answer)])

        await self._each(await self._pods(), one)

    async def show(self, session: str) -> SessionJson:
        """Ask all for it, until one has it. Raises ProxyError."""
        found: list[tuple[Pod, SessionJson | ProxyError]] = []

        async def one(pod: Pod) -> None:
            try:
                answer = await self._heard(pod, "GET", target_of(f"{PATH}/{session}"), session=session)
            except _Denied as denied:  # the session is there: a pod that hasn't got it says so first
                found.append((pod, denied))
            else:
                if answer is not None:
                    found.append((pod, {**answer, "node": pod.node}))

        await self._each(await self._pods(), one, until=lambda: bool(found))
        if not found:
            raise ProxyError(self._nowhere(session))
        if len(found) > 1:
            raise ProxyError(several(session, [pod.node for pod, _ in found]))
        pod, answer = found[0]
        self._home = pod
        if isinstance(answer, ProxyError):
            raise answer
        return answer

    async def end(self, session: str, reason: str) -> SessionJson:
        """Find it, and end it there. Raises ProxyError."""
        pod = await self._find(session)
        target = target_of(f"{PATH}/{session}", {"reason": reason} if reason else {})
        ended: list[SessionJson] = []

        async def one(pod: Pod) -> None:
            if (answer := await self._heard(pod, "DELETE", target, session=session)) is not None:
                ended.append({**answer, "node": pod.node})

        await self._ask_one(pod, one)
        if ended:
            return ended[0]
        if self.silent:
            silent = self.silent.pop()  # else it would be said twice
            raise ProxyError(f"it may go on: no answer from {pod.node} (pod {pod.name}): {silent.why}")
        raise ProxyError(f"it has just ended by itself: there is no session {session} on {pod.node} any more")

    @contextlib.asynccontextmanager
    async def joined(self, session: str, *, peer: bool) -> AsyncIterator[Upgraded]:
        """Find it, and join it there. Raises ProxyError."""
        pod = await self._find(session)
        self._signing.say(f"session {session} is on {pod.node}")
        async with upgraded_by(await self._through(pod, joining(session, peer=peer))) as opened:
            yield opened

    async def _through(self, pod: Pod, target: str) -> Through:
        """A request for ``target`` of ``pod`` whose answer goes on. Raises ProxyError."""
        way = await self._api.way()
        signs = replace(self._signing, who=self._who(pod))
        return Through(Connection(way.url + self._proxied(pod), signs, self._secret, way.tls, way), target, pod)

    async def _find(self, session: str) -> Pod:
        """The pod that has it. Raises ProxyError."""
        with contextlib.suppress(_Denied):  # who may not see it may still be somebody who may do something with it
            await self.show(session)
        assert self._home is not None
        self.silent = []
        return self._home

    async def _pods(self) -> list[Pod]:
        pods, _ = await list_pods(self._api, self._daemons, leaving=True)
        if not pods:
            raise ProxyError(f"no pod of {self._daemons.what} runs: is --workload the right one?")
        self.asked = len(pods)
        return sorted(pods, key=lambda pod: (pod.node != self.first, pod.node, pod.name))

    async def _each(
        self, pods: Iterable[Pod], ask: Callable[[Pod], Awaitable[None]], until: Callable[[], bool] = lambda: False
    ) -> None:
        """Ask all, so many at once, or some, until it is enough. Raises ProxyError if nobody may ask."""
        self.silent = []
        unheard = {pod.uid: pod for pod in pods}
        left = iter(list(unheard.values()))
        tasks: list[asyncio.Task[None]] = []

        async def worker() -> None:
            for pod in left:
                await self._ask_one(pod, ask)
                unheard.pop(pod.uid, None)
                if until():
                    for task in tasks:
                        task.cancel()

        try:
            async with asyncio.timeout(self._within), asyncio.TaskGroup() as group:
                tasks += [group.create_task(worker(), name="ask pods") for _ in range(self._at_once)]
        except TimeoutError:
            why = f"the time for all of them was over, {self._within:g} s"
            self.silent += [Silent(pod.node, pod.name, why) for pod in unheard.values()]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        self.silent.sort(key=lambda silent: (silent.node, silent.pod))

    async def _ask_one(self, pod: Pod, ask: Callable[[Pod], Awaitable[None]]) -> None:
        try:
            await ask(pod)
        except ClusterApiTimeout as error:  # an apiserver that is gone ends the round, and isn't every pod's fault
            self._is_silent(pod, f"not within {error.within:g} s")
        except MalformedAnswer:
            self._is_silent(pod, f"what answers on port {self._daemons.port} isn't k8s-ws-proxy")

    async def _heard(self, pod: Pod, method: str, target: str, session: str = "") -> SessionJson | None:
        """What the pod tells; None if it is silent, or hasn't got the session that is asked for.

        What is signed is what the pod gets to see. Raises ProxyError where nobody may ask; _Denied.
        """
        path = self._proxied(pod) + target
        who = self._who(pod)

        def headers() -> Mapping[str, str]:
            return v2_headers(self._secret, method, target, who)

        for turn in range(2):
            answer = await self._api.request(
                method, path, timeout=_ANSWER, headers=headers, max_bytes=_LARGEST, of_a_pod=True
            )
            refusal = refusal_in(answer)
            if turn or refusal is None or refusal[0] not in _SIGN_ANEW:
                break
            # Signed in the second in which it started, perhaps, or sent twice on the way: see Signer.
            await asyncio.sleep(1 - time.time() % 1 + 0.01)
        if answer.status in _GOOD:
            if len(answer.body) <= _LARGEST:
                return object_in(answer.body)
            self._is_silent(pod, f"it has more than {_LARGEST >> 20} MiB to tell: ask for one namespace, user or state")
        elif refusal is None:
            self._no_refusal(pod, method, answer)
        elif not session or refusal[0] != _NOT_THERE:
            self._refused(pod, answer.status, *refusal, session=session)
        return None

    def _proxied(self, pod: Pod) -> str:
        """Where the apiserver has the pod's own paths."""
        name = f"{pod.name}:{self._daemons.port}"
        return path_of("api", "v1", "namespaces", self._api.namespace, "pods", name, "proxy")

    def _who(self, pod: Pod) -> Mapping[str, str]:
        return {**self._signing.who, **node_header("the node", pod.node)}

    def _no_refusal(self, pod: Pod, method: str, answer: Answer) -> None:
        """The apiserver says why not, or something that isn't a proxy. Raises ClusterApiError for what is all pods'."""
        if answer.status in {401, 403} and is_status(answer):
            verb = method.lower()
            raise refused(answer, verb, f"{PATH} of the pod {pod.name}", "pods/proxy", told(answer))
        self._is_silent(pod, f"{answer.status}: {printable(unreached(answer))}")

    def _refused(self, pod: Pod, status: int, reason: str, sentence: str, *, session: str) -> None:
        sentence = printable(sentence)
        if session and reason == _NOT_YOURS:
            raise _Denied(f"the proxy on {pod.node} refused ({status} {reason}): {sentence}")
        if reason == _NO_API:
            self._is_silent(pod, "it has no session API: an older version?")
            return
        hint = advice(reason, {}, V2, self._signing.given, sentence=sentence)
        self._is_silent(pod, f"{status} {printable(reason)}: {sentence} {hint}".rstrip())

    def _is_silent(self, pod: Pod, why: str) -> None:
        self.silent.append(Silent(pod.node, pod.name, why.replace("\n", " ")))

    def _nowhere(self, session: str) -> str:
        if not self.silent:
            return f"there is no session {session} on {count(self.asked, 'node')}, or not any more"
        heard = self.asked - len(self.silent)
        return f"there is no session {session} on the {count(heard, 'node')} that answered, or not any more"


class _Denied(ProxyError):
    """The session is there, and it may not be seen, or ended."""
