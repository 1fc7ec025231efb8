"""docs/reference/recordings.md and the guide against the code: routes, fields, reasons and numbers."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.archive import begun, id_at
from support.operations import shown

from k8s_ws_proxy.errors import Reason
from k8s_ws_proxy.recordings import readers
from k8s_ws_proxy.recordings.catalogue import FIELDS, LONGEST_COMMAND
from k8s_ws_proxy.web import recording_list
from k8s_ws_proxy.web.rights import GROUP, RECORDINGS
from k8s_ws_proxy.wire.recording.receipt import End, File, sealed
from k8s_ws_proxy.wire.requests import issue

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/recordings.md").read_text("utf-8")
GUIDE = (ROOT / "docs/guides/recording.md").read_text("utf-8")


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]


def firsts(title, number=0):
    """The names in the first column of a section's table."""
    tables = re.findall(r"(?:^\|.*\n)+", section(title), re.MULTILINE)
    rows = tables[number].splitlines()[2:]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_the_fields_of_a_receipt_are_those_that_are_sealed():
    end, file = End("", "", None, 0, 0), File("", 0, "")
    receipt = json.loads(sealed(begun(id_at(0)), end, file, b"key"))
    assert set(firsts("Receipts")) == set(receipt)
    assert set(FIELDS) - {"state"} == set(receipt) - {"version", "key", "hmac"}


def test_a_person_s_recordings_are_deleted_by_what_the_image_has(tmp_path):
    (line,) = (line for line in shown(GUIDE) if " exec " in line)
    words = shlex.split(line)
    assert words[words.index("--") + 1 : words.index("--") + 3] == ["python", "-c"]
    code, *paths = words[words.index("--") + 3 :]
    other = tmp_path / Path(paths[0]).with_name("another.cast")
    other.parent.mkdir(parents=True)
    for path in (other, *map(tmp_path.joinpath, paths)):
        path.touch()
    subprocess.run([sys.executable, "-c", code, *paths], env={"RECORDING_DIR": str(tmp_path)}, check=True)
    assert list(other.parent.iterdir()) == [other]


def test_the_parameters_are_those_that_are_read():
    assert tuple(firsts("Listing")) == recording_list.PARAMETERS


def test_the_reasons_are_reasons():
    told = set(re.findall(r"`([a-z0-9]+_[a-z0-9_]+)`", PAGE))
    assert len(told) >= 10
    assert told <= {reason.value for reason in Reason} | {"command_ended"}


@pytest.mark.parametrize(
    "said",
    [
        f"{1} to {recording_list.LARGEST_LIMIT}; {recording_list.DEFAULT_LIMIT} if it isn't there",
        f"{recording_list.LARGEST_PAGE >> 20} MiB,\n{recording_list.EXAMINED} that were looked at",
        f"Of a command over {LONGEST_COMMAND} characters",
        f"| requests that read recordings at once | {readers.MOST} |",
        f"key or certificate, and user | {readers.MOST_OF_ONE} |",
        f"| one question to the disk | {readers.PATIENCE:.0f} seconds |",
        f"(1 to {issue.LONGEST_TIME}; {issue.DEFAULT_TIME})",
        f"the resource `{RECORDINGS}` in the API group `{GROUP}`",
    ],
)
def test_the_numbers_are_the_code_s(said):
    assert said in PAGE


def test_the_settings_that_the_guide_names_are_settings():
    settings = (ROOT / "docs/reference/settings.md").read_text("utf-8")
    named = set(re.findall(r"`(RECORD\w*)[=`]", GUIDE)) - {"RECORDING_KEEP", "RECORDING_STORE"}
    assert len(named) >= 6
    assert {each for each in named if f"| `{each}` |" not in settings} == set()
