"""What a recording hands over, and when: its session moved by hand, its disk held up where it has to be."""

from __future__ import annotations

import pytest
from support.recorder import recording, settled

from k8s_ws_proxy.recordings.recording import Recording


@pytest.fixture
async def made(tmp_path):
    async with recording(tmp_path / "recordings") as found:
        yield found


async def test_it_is_finished_once(made):
    """Also where it was to hand over something in a moment, and its session ended before."""
    recorders, recorder = made
    session = await recorders.begin(recorder)
    session.says(b"last words")
    session.ends()
    assert isinstance(session.recording, Recording)
    await settled(lambda: recorders.finished)
    session.recording.hand_over()  # as the moment does
    other = await recorders.begin(recorder)
    other.ends()
    await settled(lambda: len(recorders.finished) > 1)
    assert [found for found, _ in recorders.finished] == [session.id, other.id]
