"""What each command costs to start: nothing is imported for it that it doesn't use."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = "import sys; print('\\n'.join(sys.modules))"
HEAVY = {"kubernetes", "yaml", "cryptography", "websockets"}


def loaded_after(code):
    ran = subprocess.run([sys.executable, "-c", f"{code}\n{LOADED}"], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import k8s_ws_proxy.cli.main as main; main.build_parser()",
        "import k8s_ws_proxy.cli.serve, k8s_ws_proxy.web.app",
        "import k8s_ws_proxy.cli.main as main; main.main(['keys', 'generate'])",
    ],
    ids=["parser", "serve", "keys generate"],
)
def test_the_client_of_a_rotation_is_loaded_for_no_other_command(code):
    assert not loaded_after(code) & HEAVY
    assert not {name for name in loaded_after(code) if name.startswith("k8s_ws_proxy.rotation.api")}


def test_the_walk_sees_what_it_must():
    assert "kubernetes.aio" in loaded_after("import k8s_ws_proxy.rotation.api")
