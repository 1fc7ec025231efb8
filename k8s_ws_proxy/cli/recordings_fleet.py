"""Every node's recordings: each pod of the DaemonSet is asked through the apiserver's pod proxy, so many at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.cli.identity_headers import v2_headers
from k8s_ws_proxy.cli.recordings_source import PATH, Listed, as_it_comes, page_in, page_target
from k8s_ws_proxy.cli.sessions_fleet import Fleet
from k8s_ws_proxy.cli.sessions_source import target_of
from k8s_ws_proxy.errors import ClusterApiTimeout, ProxyError, Reason
from k8s_ws_proxy.recordings.catalogue import FINISHED
from k8s_ws_proxy.rotation.api import refusal_in
from k8s_ws_proxy.rotation.wording import count

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from k8s_ws_proxy.cli.recordings_source import RecordingJson
    from k8s_ws_proxy.rotation.api import Answer
    from k8s_ws_proxy.rotation.fleet import Pod

_ANSWER: Final = 10.0  # seconds until an answer begins
_BODY: Final = 60.0  # seconds for the rest of it
_FIRST: Final = 256 * 1024  # bytes of a recording that are asked for first
_PART: Final = 4 << 20  # bytes that are asked for at once, and held, where they come quickly
_QUICKLY: Final = 2.0  # seconds for a part after which the next is twice as large
_SLOWLY: Final = 10.0  # ... and half as large
_LARGEST: Final = 8 << 20  # bytes of an answer
_SIGN_ANEW: Final = frozenset((Reason.EXPIRED.value, Reason.REPLAYED.value))
_NONE_HERE: Final = Reason.NO_SUCH_RECORDING.value


class RecordingsFleet(Fleet):
    """See RecordingSource, and Fleet for the rest."""

    waits = False

    async def listed(self, wanted: Mapping[str, str], limit: int) -> Listed:
        """Each pod's newest, and of all of them the newest. Raises ClusterApiError.

        Pods may share a directory, and then each tells of all that is in it.
        """
        found = Listed([])
        told: dict[str, RecordingJson] = {}

        async def one(pod: Pod) -> None:
            token: str | None = ""
            left = limit
            while token is not None and left > 0:
                answer = await self._ask(pod, page_target(wanted, left, token))
                if answer is None:
                    return
                page = page_in(answer.body)
                for each in page.recordings:
                    id_ = str(each.get("sessionId"))
                    # One may have been asked before it ended, and another afterwards.
                    if told.get(id_, {}).get("state") != FINISHED:
                        told[id_] = {**each, "node": each.get("node") or pod.node}
                found.skipped += page.skipped
                token, left = page.token, left - len(page.recordings)
            found.more = found.more or token is not None

        await self._each(await self._pods(), one)
        newest = sorted(told, reverse=True)
        found.recordings = [told[id_] for id_ in newest[:limit]]
        found.more = found.more or len(newest) > limit
        return found

    async def cast(self, session: str, *, follow: bool = False) -> AsyncGenerator[bytes, None]:
        """Find it, and read it a part at a time: the apiserver's client has whole answers only. Raises ProxyError."""
        target = target_of(f"{PATH}/{session}")
        if follow:
            pod, _ = await self._found_at(session, target, {"Range": "bytes=0-0"})
            signer = await self._through(pod, target_of(f"{PATH}/{session}", {"follow": "true"}))
            async with contextlib.aclosing(as_it_comes(signer)) as parts:
                async for data in parts:
                    yield data
            return
        offset, part = 0, _FIRST
        pod, answer = await self._found_at(session, target, _range(offset, part))
        while answer.status != 416:
            yield answer.body
            offset += len(answer.body)
            if answer.status != 206 or len(answer.body) < part:
                return
            part = _next(part, answer.received - answer.sent)
            answer = await self._more(pod, target, _range(offset, part))

    async def _more(self, pod: Pod, target: str, headers: Mapping[str, str]) -> Answer:
        """What comes after what has come. Raises ProxyError."""
        try:
            answer = await self._ask(pod, target, headers)
        except ClusterApiTimeout as error:
            raise ProxyError(f"{pod.node} broke off in the middle: not within {error.within:g} s") from error
        if answer is None:
            why, self.silent = self.silent[-1].why if self.silent else "gone", []
            raise ProxyError(f"{pod.node} broke off in the middle: {why}")
        return answer

    async def receipt(self, session: str) -> bytes:
        """See RecordingSource."""
        _, answer = await self._found_at(session, target_of(f"{PATH}/{session}/receipt"), {})
        return answer.body

    async def _found_at(self, session: str, target: str, more: Mapping[str, str]) -> tuple[Pod, Answer]:
        found: list[tuple[Pod, Answer]] = []

        async def one(pod: Pod) -> None:
            answer = await self._ask(pod, target, more)
            if answer is not None:
                found.append((pod, answer))

        await self._each(await self._pods(), one, until=lambda: bool(found))
        if found:
            self.silent = []
            return found[0]
        if not (heard := self.asked - len(self.silent)):
            raise ProxyError(f"no node has said whether there is a recording {session}, or a receipt of it")
        raise ProxyError(
            f"there is no recording {session} on {count(heard, 'node')} that answered, or no receipt of it yet, or "
            "you may not read it. It may be in the store"
        )

    async def _ask(self, pod: Pod, target: str, more: Mapping[str, str] | None = None) -> Answer | None:
        """What the pod answers; None if it is silent, or has none of it. Raises ProxyError where nobody may ask."""
        path, who = self._proxied(pod) + target, self._who(pod)

        def headers() -> Mapping[str, str]:
            return {**(more or {}), **v2_headers(self._secret, "GET", target, who)}

        for turn in range(2):
            answer = await self._api.request(
                "GET",
                path,
                timeout=_ANSWER,
                body_timeout=_BODY,
                headers=headers,
                max_bytes=_LARGEST,
                of_a_pod=True,
            )
            refusal = refusal_in(answer) if answer.status >= 400 else None
            if turn or refusal is None or refusal[0] not in _SIGN_ANEW:
                break
            await asyncio.sleep(1 - time.time() % 1 + 0.01)  # see Fleet
        if answer.status in (200, 206):
            if len(answer.body) <= _LARGEST:
                return answer
            self._is_silent(pod, f"it has more than {_LARGEST >> 20} MiB to tell at once: an older version?")
        elif refusal is None:
            self._no_refusal(pod, "GET", answer)
        elif answer.status == 416:
            return answer
        elif refusal[0] != _NONE_HERE:
            self._refused(pod, answer.status, *refusal, session="")
        return None


def _range(offset: int, size: int) -> Mapping[str, str]:
    return {"Range": f"bytes={offset}-{offset + size - 1}"}


def _next(size: int, took: float) -> int:
    """How large the next part is, where one of ``size`` bytes took so many seconds."""
    if took < _QUICKLY:
        return min(size * 2, _PART)
    return max(size // 2, _FIRST) if took > _SLOWLY else size
