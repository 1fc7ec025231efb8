"""Where recordings are."""

from __future__ import annotations

import uuid

import pytest

from k8s_ws_proxy.recordings.paths import is_session, path_of, receipt_of
from k8s_ws_proxy.sessions.uuid7 import uuid7


def test_by_the_day_that_the_id_was_made():
    session = "01890a5d-ac96-774b-bcce-b302099a8057"
    assert path_of(session) == f"2023/06/30/{session}.cast"
    assert receipt_of(path_of(session)) == f"2023/06/30/{session}.json"


def test_every_session_has_one():
    session = uuid7()
    assert path_of(session).endswith(f"/{session}.cast")
    assert is_session(session)


@pytest.mark.parametrize(
    "session",
    [
        "",
        "x",
        "../../../etc/passwd",
        str(uuid.UUID(int=0)),
        "7e3d0cc1-7d09-4c0b-82a2-b17b02e85e03",  # version 4
        "01890A5D-AC96-774B-BCCE-B302099A8057",
        "{01890a5d-ac96-774b-bcce-b302099a8057}",
        "01890a5dac96774bbcceb302099a8057",
        "ffffffff-ffff-7fff-bfff-ffffffffffff",  # in the year 10889
    ],
)
def test_what_isnt_the_id_of_a_session(session):
    with pytest.raises(ValueError, match=r".+"):
        path_of(session)
    assert not is_session(session)
