"""The composition root, first half: what there is one of, and what is made of it for requests."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from k8s_ws_proxy.audit.refusals import Refusals
from k8s_ws_proxy.auth.authorizer import Authorizer
from k8s_ws_proxy.auth.client_cert import ClientCertificates
from k8s_ws_proxy.auth.hmac_v1 import HmacV1
from k8s_ws_proxy.auth.impersonator import Impersonator
from k8s_ws_proxy.auth.nonces import Nonces
from k8s_ws_proxy.auth.policy import Policy
from k8s_ws_proxy.auth.rfc9421 import MessageSignatures
from k8s_ws_proxy.keyring import V1, V2, Keyring
from k8s_ws_proxy.kube.access import Access
from k8s_ws_proxy.kube.apiserver import Apiserver
from k8s_ws_proxy.kube.pods import Defaults
from k8s_ws_proxy.kube.ready import Ready
from k8s_ws_proxy.kube.reviews import Reviews
from k8s_ws_proxy.recordings.catalogue import Catalogue
from k8s_ws_proxy.recordings.readers import Readers
from k8s_ws_proxy.recordings.recorder import Recorder
from k8s_ws_proxy.recordings.store import StoreSource
from k8s_ws_proxy.recordings.uploads import Uploads
from k8s_ws_proxy.recordings.waiting import Waiting
from k8s_ws_proxy.relay.read_budget import ReadBudget
from k8s_ws_proxy.sessions import descriptors
from k8s_ws_proxy.sessions.journal import Journal
from k8s_ws_proxy.sessions.orphans import Orphans
from k8s_ws_proxy.sessions.quotas import quotas
from k8s_ws_proxy.sessions.registry import Registry
from k8s_ws_proxy.sessions.tickets import Tickets
from k8s_ws_proxy.sessions.watching import Watching
from k8s_ws_proxy.web.api_callers import ApiCallers
from k8s_ws_proxy.web.directory import Directory
from k8s_ws_proxy.web.fallback import Fallback
from k8s_ws_proxy.web.guacd import Teller
from k8s_ws_proxy.web.handler import SessionHandler
from k8s_ws_proxy.web.issuing import Issuing
from k8s_ws_proxy.web.joining import Joining
from k8s_ws_proxy.web.opening import Opening
from k8s_ws_proxy.web.plan import PlanParts
from k8s_ws_proxy.web.plans import Plans
from k8s_ws_proxy.web.reads import Reads
from k8s_ws_proxy.web.recorded import Recorded
from k8s_ws_proxy.web.recordings import Recordings
from k8s_ws_proxy.web.rights import Rights
from k8s_ws_proxy.web.session_api import SessionApi
from k8s_ws_proxy.web.streaming import Streaming
from k8s_ws_proxy.web.turns import Turns
from k8s_ws_proxy.wire.rules.lifetime import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k8s_ws_proxy.audit.trail import Trail
    from k8s_ws_proxy.keyring import KeySource, Reading
    from k8s_ws_proxy.settings import Settings
    from k8s_ws_proxy.wire.audit.events import RecordingFinished


# Seconds until a thread that wants to run Python gets its turn of another that does: the event loop with a keystroke
# beside the one that encodes a recorded flood. The interpreter's own is 5 ms.
_TURN: Final = 0.0002


@dataclass(frozen=True, slots=True)
class Parts:
    """One of each in a daemon.

    Without ``orphans`` nothing that is left in a container is hung up, without ``recorder`` nothing is recorded, and
    without ``uploads`` recordings stay here.
    """

    settings: Settings
    keyring: Keyring
    access: Access
    ready: Ready
    apiserver: Apiserver
    authorizer: Authorizer
    impersonator: Impersonator
    policy: Policy
    registry: Registry
    orphans: Orphans | None
    budget: ReadBudget
    plans: Plans
    opening: Opening
    tickets: Tickets
    recorder: Recorder | None
    uploads: Uploads | None
    recorded: Recorded
    audit: Trail
    refusals: Refusals

    @classmethod
    def made(
        cls, settings: Settings, source: KeySource, first: Reading, environ: Mapping[str, str], audit: Trail
    ) -> Parts:
        """From the settings, the keys as they were first read, and the environment."""
        loop = asyncio.get_running_loop()
        keyring = Keyring(source, first, audit=audit)
        access, turns = Access(environ), Turns()
        ready = Ready(
            access,
            settings.ready_connections,
            turn=turns.dial_in_advance,
            room=descriptors.left,
            within=settings.handshake_timeout,
        )
        apiserver = Apiserver(access, None, ready)
        registry = Registry(
            quotas(
                settings.max_sessions,
                per_namespace=settings.max_sessions_per_namespace,
                per_user=settings.max_sessions_per_user,
                handshakes=settings.max_handshakes,
            ),
            time.monotonic,
            audit,
        )
        orphans = _orphans(settings, apiserver)
        budget = ReadBudget(time.monotonic)
        limits = Limits(settings.session_idle_timeout, settings.session_max_duration)
        recorder, uploads = _recorder(settings, keyring, budget, audit)
        recorded = Recorded(recorder, notice=settings.recording.notice if settings.recording else "")
        return cls(
            settings,
            keyring,
            access,
            ready,
            apiserver,
            _authorizer(settings, keyring),
            Impersonator(settings.identity, settings.identity_user_prefix, settings.identity_group_prefix),
            Policy(settings.allowed_namespaces, settings.allowed_subresources, settings.allowed_ports),
            registry,
            orphans,
            budget,
            Plans(PlanParts(settings, apiserver, Defaults(time.monotonic), orphans, budget), turns),
            Opening(
                registry,
                budget,
                turns,
                ping_period=settings.ping_period,
                limits=limits if limits.idle or limits.duration else None,
                observers=[recorded.observe] if recorder else [],
            ),
            Tickets(settings.max_tickets, clock=time.time, later=loop.call_later),
            recorder,
            uploads,
            recorded,
            audit,
            Refusals(audit, loop.call_later),
        )

    def sessions(self) -> SessionHandler:
        """What answers requests for sessions."""
        settings = self.settings
        return SessionHandler(
            authorizer=self.authorizer,
            impersonator=self.impersonator,
            policy=self.policy,
            apiserver=self.apiserver,
            plans=self.plans,
            opening=self.opening,
            fallback=Fallback(time.monotonic, asyncio.get_running_loop().call_later),
            teller=Teller(self.budget, ping_period=settings.ping_period),
            within=settings.handshake_timeout,
        )

    def session_api(self) -> SessionApi:
        """What answers requests about sessions."""
        settings, tickets, apiserver = self.settings, self.tickets, self.apiserver
        callers = ApiCallers(
            self.authorizer,
            self.impersonator,
            tickets,
            origins=settings.allowed_origins,
            within=settings.handshake_timeout,
        )
        rights = Rights(settings, self.impersonator, Reviews(apiserver, time.monotonic), apiserver, self.registry)
        watching = Watching(asyncio.get_running_loop(), notices=settings.watch_notices)
        directory = Directory(
            callers,
            self.registry,
            tickets,
            rights=rights,
            watching=watching,
            node=settings.node_name,
        )
        issuing = Issuing(
            callers,
            tickets,
            registry=self.registry,
            policy=self.policy,
            rights=rights,
            directory=directory,
            recorded=self.recorded,
            apiserver=apiserver,
            turns=self.plans.turns,
            public_url=settings.public_url,
        )
        streaming = Streaming(
            callers,
            tickets,
            impersonator=self.impersonator,
            apiserver=apiserver,
            plans=self.plans,
            opening=self.opening,
        )
        joining = Joining(
            callers,
            tickets,
            rights=rights,
            apiserver=apiserver,
            directory=directory,
            watching=watching,
            parts=self.plans.parts,
            opening=self.opening,
        )
        return SessionApi(callers, issuing, directory, streaming, joining, self._recordings(callers, rights))

    def _recordings(self, callers: ApiCallers, rights: Rights) -> Recordings:
        settings = self.settings
        return Recordings(
            callers,
            self.tickets,
            catalogue=Catalogue(settings.recording.directory) if settings.recording else None,
            readers=Readers(asyncio.get_running_loop()),
            rights=rights,
            policy=self.policy,
            settings=settings,
            audit=self.audit,
        )

    def reads(self, handler: SessionHandler) -> Reads:
        """What answers kubectl's questions; ``handler`` where a name in them is none."""
        return Reads(
            self.settings,
            authorizer=self.authorizer,
            impersonator=self.impersonator,
            policy=self.policy,
            apiserver=self.apiserver,
            registry=self.registry,
            otherwise=handler.open,
        )


def _authorizer(settings: Settings, keyring: Keyring) -> Authorizer:
    started = time.monotonic()
    return Authorizer(
        [
            ClientCertificates(settings.allowed_subjects, guacd=settings.guacd_subjects, clock=time.time),
            MessageSignatures(
                keyring,
                Nonces(settings.signature_max_age),
                accepted=V2 in settings.accepted_signatures,
                max_age=settings.signature_max_age,
                clock=time.time,
                uptime=lambda: time.monotonic() - started,
            ),
            HmacV1(keyring, skew=settings.skew, clock=time.time, accepted=V1 in settings.accepted_signatures),
        ],
        node=settings.node_name,
    )


def _orphans(settings: Settings, apiserver: Apiserver) -> Orphans | None:
    if not settings.reap_orphans:
        return None
    journal = Journal(settings.state_dir, asyncio.get_running_loop()) if settings.state_dir else None
    return Orphans(apiserver, patience=settings.handshake_timeout, journal=journal)


def _recorder(
    settings: Settings, keyring: Keyring, budget: ReadBudget, audit: Trail
) -> tuple[Recorder | None, Uploads | None]:
    if settings.recording is None:
        return None, None
    store, uploads = settings.recording.store, None
    sys.setswitchinterval(_TURN)

    def finished(event: RecordingFinished) -> None:
        audit.emit(event)
        if uploads is not None:
            uploads.wake()

    recorder = Recorder(
        settings.recording,
        node=settings.node_name,
        budget=budget,
        secret=lambda: keyring.standing_key().secret,
        finished=finished,
    )
    if store is not None:
        waiting = Waiting(recorder.directory.root, recorder.directory.own)
        uploads = Uploads(waiting, StoreSource(store), keep=store.keep)
    return recorder, uploads
