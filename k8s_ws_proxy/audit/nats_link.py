"""One connection to NATS, by which lines are published to JetStream and acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any, Final

from k8s_ws_proxy.audit import credentials
from k8s_ws_proxy.errors import AuditError, AuditLineTooLong

if TYPE_CHECKING:
    from k8s_ws_proxy.settings import NatsSettings

_WITHIN: Final = 10.0  # seconds for a connection, and for an acknowledgement
# nats-server, server/errors.json: a message that is longer than the stream takes, whenever it comes.
_TOO_LONG: Final = 10054


class NatsLink:
    """Connects when it is first used, and anew where the connection is gone.

    One that errs is closed, unless the server has only refused a line. All raise AuditError.
    """

    def __init__(self, settings: NatsSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._client: Any = None

    async def publish(self, subject: str, data: bytes, message_id: str) -> None:
        """Return when the stream has acknowledged it; a repeat of ``message_id`` is acknowledged, too."""
        import nats.errors  # noqa: PLC0415 - it is a third of a second, and most daemons have none
        import nats.js.errors  # noqa: PLC0415

        try:
            async with asyncio.timeout(_WITHIN):
                client = await self._connected()
                await client.jetstream().publish(subject, data, timeout=_WITHIN, headers={"Nats-Msg-Id": message_id})
        except nats.errors.MaxPayloadError as error:
            raise AuditLineTooLong("the server's max_payload is less than a line has") from error
        except nats.js.errors.NoStreamResponseError as error:
            await self.close()
            raise AuditError(f"no stream takes {subject}") from error
        except nats.js.errors.APIError as error:
            if error.err_code == _TOO_LONG:
                raise AuditLineTooLong("the stream's max_msg_size is less than a line has") from error
            raise AuditError(f"the stream refuses: {error.description}") from error
        except (TimeoutError, OSError, ValueError, nats.errors.Error) as error:
            await self.close()
            raise AuditError(f"NATS can't be reached: {str(error) or 'no answer in time'}") from error

    async def _connected(self) -> Any:
        if self._client is not None and self._client.is_connected:
            return self._client
        await self.close()
        from nats.aio.client import Client  # noqa: PLC0415

        self._client = client = Client()
        await client.connect(**self._options())
        if self._wants_tls and not client._server_info.get("tls_required"):  # noqa: SLF001 - nothing public tells it
            await self.close()  # the next line must not be sent by it
            raise AuditError("NATS can't be reached: the server speaks no TLS, and AUDIT_NATS_URL wants it")
        return client

    @property
    def _wants_tls(self) -> bool:
        settings = self._settings
        return settings.ca_file is not None or any(each.startswith(("tls://", "wss://")) for each in settings.servers)

    def _options(self) -> dict[str, Any]:
        """It looks at files, and so blocks."""
        settings = self._settings
        options: dict[str, Any] = {
            "servers": list(settings.servers),
            "name": self._name,
            "connect_timeout": _WITHIN / 2,
            # It connects anew by itself without end otherwise, and this is where that is decided.
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0.1,
            "error_cb": _nothing,
        }
        if self._wants_tls:
            options["tls"] = _tls(settings)
        if settings.credentials is not None:
            whom = credentials.read(settings.credentials)
            options |= {"user_jwt_cb": whom.jwt.encode, "signature_cb": whom.signed}
        return options

    async def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):  # whatever is wrong with it, it is gone
                async with asyncio.timeout(1.0):
                    await client.close()


def _tls(settings: NatsSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:
        raise AuditError(f"AUDIT_NATS_CA_FILE {settings.ca_file} can't be used: {error}") from error


async def _nothing(_error: Exception) -> None:
    """It is raised, too."""
