"""The apiserver by the official client: its configuration, credentials and TLS, with our bounds on what is asked.

Bodies are taken as JSON and not as the client's models: these cost a second for a page of pods, and their errors print
what they were given, which may be a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import aiohttp
import yaml
from kubernetes.aio import client, config
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from k8s_ws_proxy import __version__
from k8s_ws_proxy.errors import ClusterApiError, ClusterApiTimeout, ClusterApiUnavailable, ClusterConfigError
from k8s_ws_proxy.kube.config import SERVICE_ACCOUNT
from k8s_ws_proxy.rotation.way import Way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

MERGE_PATCH: Final = "application/merge-patch+json"
_TIMEOUT: Final = 30.0  # seconds for one request
_TURNS: Final = 4  # times a request is sent that is answered 429
_JUMP: Final = 5.0  # seconds: no rounding, and no slow answer
_LONGEST_PAUSE: Final = 60.0  # seconds that a Retry-After is heeded for


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster, and how hard it may be asked: requests at once, and in a second."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    concurrency: int = 50
    rate: float = 100.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the apiserver answered. ``sent`` and ``received`` are its clock's Unix seconds, as well as it is known."""

    status: int
    body: bytes
    sent: float
    received: float

    def json(self) -> dict[str, Any]:
        """The body. Raises ClusterApiError."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise ClusterApiError("the apiserver's answer isn't JSON", status=self.status) from error
        if not isinstance(found, dict):
            raise ClusterApiError("the apiserver's answer isn't an object", status=self.status)
        return found


class Api:
    """One cluster. ``requests`` counts what was sent; ``namespace`` is where the commands work."""

    def __init__(self, configuration: Any, where: Where, namespace: str) -> None:
        configuration.connection_pool_maxsize = where.concurrency
        self._client = client.ApiClient(configuration)
        self._client.user_agent = f"k8s-ws-proxy/{__version__}"
        self._where = where
        self.namespace = namespace
        self.requests = 0
        self._refreshing = asyncio.Lock()
        self._slots = asyncio.Semaphore(where.concurrency)
        self._next = 0.0  # the loop's time at which the next request may be sent
        self._ahead: float | None = None  # the apiserver's clock less the loop's

    def now(self) -> float:
        """The apiserver's clock in Unix seconds; it has answered once."""
        assert self._ahead is not None
        return asyncio.get_running_loop().time() + self._ahead

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout: float = _TIMEOUT,
        body_timeout: float | None = None,
        headers: Callable[[], Mapping[str, str]] | None = None,
        max_bytes: int | None = None,
        of_a_pod: bool = False,
    ) -> Answer:
        """One request; ``path`` has its segments quoted. A 429 of the apiserver's is sent again when it says.

        ``of_a_pod``: it is for a pod behind the apiserver's proxy, whose clock isn't the one that counts.
        ``headers`` are called for at each sending, when its turn has come. Of a body longer than ``max_bytes`` little
        more is read than that. ``timeout`` is in seconds for all of it, or, with a ``body_timeout``, until the body
        begins, which then has that.

        Raises ClusterApiUnavailable, and ClusterConfigError where the credentials can't be had any more.
        """
        refreshed = False
        tokens = dict(self._client.configuration.api_key)
        for turn in range(_TURNS):
            answer, retry_after = await self._once(
                method, path, query or {}, body, content_type, timeout, body_timeout, headers, max_bytes, of_a_pod
            )
            if answer.status == 401 and not refreshed and refusal_in(answer) is None:
                refreshed = True
                await self._refresh(tokens)
            elif answer.status != 429 or turn == _TURNS - 1 or refusal_in(answer) is not None:
                return answer
            else:  # for all requests: it is the apiserver that has too much to do
                pause = min(max(retry_after, 1.0), _LONGEST_PAUSE)
                self._next = max(self._next, asyncio.get_running_loop().time() + pause)
        return answer

    async def way(self) -> Way:
        """For what isn't a request and its answer: a WebSocket. Credentials that expire are fresh."""
        configuration = self._client.configuration
        _, url, headers, *_ = await self._client.param_serialize("GET", "", auth_settings=["BearerToken"])
        return Way(
            url.rstrip("/"),
            self._client.rest_client.ssl_context,
            headers,
            configuration.proxy,
            configuration.proxy_headers,
            configuration.tls_server_name,
        )

    async def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Any,
        content_type: str,
        timeout: float,
        body_timeout: float | None,
        headers: Callable[[], Mapping[str, str]] | None,
        max_bytes: int | None,
        of_a_pod: bool,
    ) -> tuple[Answer, float]:
        """One request, and the seconds of its ``Retry-After``."""
        loop = asyncio.get_running_loop()
        async with self._slots:
            await self._turn()
            self.requests += 1
            began, what = loop.time(), "answer"
            try:
                async with asyncio.timeout(timeout) as deadline:
                    serialized = await self._client.param_serialize(
                        method,
                        path,
                        query_params=list(query.items()),
                        header_params={
                            "Accept": "application/json",
                            "Content-Type": content_type,
                            **(headers() if headers else {}),
                        },
                        body=body,
                        auth_settings=["BearerToken"],
                    )
                    response = await self._client.call_api(*serialized)
                    headed = loop.time()  # its Date is of now, however long the body takes
                    if body_timeout is not None:
                        timeout, what = body_timeout, "finish its answer"
                        deadline.reschedule(loop.time() + body_timeout)
                    content = await (response.read() if max_bytes is None else _begin(response.response, max_bytes))
            except TimeoutError as error:
                raise ClusterApiTimeout(f"the apiserver didn't {what} within {timeout:g} s", within=timeout) from error
            except aiohttp.ClientError as error:
                raise ClusterApiUnavailable(unreachable(error)) from error
            ended = loop.time()
        if not of_a_pod or self._ahead is None:
            self._set_clock("" if of_a_pod else response.headers.get("Date", ""), headed)
        assert self._ahead is not None
        answer = Answer(response.status, content, began + self._ahead, ended + self._ahead)
        return answer, _seconds(response.headers.get("Retry-After", ""))

    async def _turn(self) -> None:
        """Wait for this request's turn: they are spaced, not sent in bursts."""
        loop = asyncio.get_running_loop()
        while (rest := self._next - loop.time()) > 0:  # noqa: ASYNC110 - a time is waited for, not an event
            await asyncio.sleep(rest)
        self._next = loop.time() + 1 / self._where.rate

    async def _refresh(self, tokens: Mapping[str, str]) -> None:
        """Credentials expire while a rotation waits. They are read once for all requests that find it out together."""
        async with self._refreshing:
            if self._client.configuration.api_key == tokens:
                configuration, _ = await _load(self._where)
                self._client.configuration.api_key = configuration.api_key

    def _set_clock(self, date: str, now: float) -> None:
        """By the first answer. Later ones only show whether this machine has slept: they have whole seconds, and times
        that are compared should be by one reading.
        """
        try:
            ahead = parsedate_to_datetime(date).timestamp() - now
        except ValueError:
            ahead = time.time() - now
        if self._ahead is None or abs(ahead - self._ahead) > _JUMP:
            self._ahead = ahead

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


@contextlib.asynccontextmanager
async def connected(where: Where) -> AsyncIterator[Api]:
    """The cluster, until the block is left. Raises ClusterConfigError."""
    configuration, namespace = await _load(where)
    try:
        api = Api(configuration, where, where.namespace or namespace)
    except (OSError, ssl.SSLError) as error:
        raise ClusterConfigError(f"The apiserver's CA or client certificate can't be used: {error}") from error
    try:
        yield api
    finally:
        await api.close()


async def _load(where: Where) -> tuple[Any, str]:
    """The client's configuration, and the namespace that it names.

    What is named decides, then KUBECONFIG, then the service account in a cluster, then the default kubeconfig.
    """
    loaded = client.Configuration()
    named = where.kubeconfig or where.context or os.environ.get("KUBECONFIG")
    try:
        if not named and os.environ.get("KUBERNETES_SERVICE_HOST"):
            return loaded, await asyncio.to_thread(_load_service_account, loaded)
        await config.load_kube_config(
            config_file=where.kubeconfig, context=where.context, client_configuration=loaded, persist_config=False
        )
        contexts, active = config.list_kube_config_contexts(config_file=where.kubeconfig)
    except (
        config.ConfigException,
        yaml.YAMLError,
        OSError,
        ValueError,
        # what a kubeconfig of an unexpected shape makes the loader raise
        AttributeError,
        KeyError,
        TypeError,
    ) as error:
        raise ClusterConfigError(
            f"No cluster to work on: neither a kubeconfig (--kubeconfig, KUBECONFIG) nor a service account's files are "
            f"usable: {error}"
        ) from error
    context = next((one for one in contexts if one["name"] == where.context), active)
    return loaded, context["context"].get("namespace") or "default"


def _load_service_account(into: Any) -> str:
    """The pod's own credentials; its namespace."""
    files = {"token_filename": str(SERVICE_ACCOUNT / "token"), "cert_filename": str(SERVICE_ACCOUNT / "ca.crt")}
    InClusterConfigLoader(**files, environ=os.environ).load_and_set(into)
    return (SERVICE_ACCOUNT / "namespace").read_text("utf-8").strip()


def path_of(*segments: str) -> str:
    """``segments`` as a path; each is quoted, so that none becomes two."""
    return "".join(f"/{quote(segment, safe=':')}" for segment in segments)


def told(answer: Answer) -> str:
    """What an error's ``metav1.Status`` says, for answers to requests that held no key."""
    try:
        message = str(json.loads(answer.body)["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        message = answer.body[:200].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in message)[:300].strip()


def unreached(answer: Answer) -> str:
    """Why the apiserver didn't reach the pod behind its proxy.

    Of "error trying to reach service: dial tcp 10.0.0.7:9090: connect: connection refused" the end says it.
    """
    return told(answer).rpartition("connect: ")[2].removeprefix("error trying to reach service: ")


def is_status(answer: Answer) -> bool:
    """Whether the apiserver itself has answered, and not what stands behind its proxy."""
    try:
        return bool(json.loads(answer.body)["kind"] == "Status")
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def refusal_in(answer: Answer) -> tuple[str, str] | None:
    """Reason and sentence of a refusal by one of our own daemons, behind the apiserver's proxy; None if it is none."""
    try:
        refusal = json.loads(answer.body)
        return str(refusal["reason"]), str(refusal["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


async def _begin(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    body = b""
    while len(body) <= max_bytes and (part := await response.content.read(max_bytes)):
        body += part
    if len(body) > max_bytes:
        response.close()
    return body


def unreachable(error: aiohttp.ClientError) -> str:
    """What to say where the apiserver gave no answer."""
    return f"the apiserver can't be reached: {_sentence(error)}"


def _sentence(error: aiohttp.ClientError) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate can't be trusted: {error.certificate_error}"
        case aiohttp.ClientConnectorError():
            return f"{error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
        case _:
            return type(error).__name__


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 1.0
