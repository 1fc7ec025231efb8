"""What each command costs to start: nothing is imported for it that it doesn't use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from k8s_ws_proxy.devcluster.certs import Authority

LOADED = "import sys; print('\\n'.join(sys.modules))"
HEAVY = {"kubernetes", "yaml", "cryptography", "websockets"}


def loaded_after(code, *arguments):
    command = [sys.executable, "-c", f"{code}\n{LOADED}", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
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


IN_CLUSTER = """\
import sys
from pathlib import Path
from k8s_ws_proxy.kube.config import load
environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
assert load(environ, service_account=Path(sys.argv[1])).port == 443
"""


def test_in_a_cluster_the_daemon_does_without_the_client(tmp_path):
    """It would take a third of the daemon's memory at rest."""
    (tmp_path / "token").write_text("token")
    (tmp_path / "ca.crt").write_bytes(Authority().pem)
    assert not loaded_after("import k8s_ws_proxy.web.app\n" + IN_CLUSTER, str(tmp_path)) & {
        "kubernetes",
        "pydantic",
        "yaml",
    }


def test_the_walk_sees_what_it_must():
    assert "kubernetes.aio" in loaded_after("import k8s_ws_proxy.rotation.api")
