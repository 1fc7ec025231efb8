"""What an install says at its end: the commands in it are run as they stand, by a shell and the real kubectl."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest
from support.chart import CERT_MANAGER, CHART, PROMETHEUS_OPERATOR, grants, helm, notes, render
from support.daemon import SECRET, running_daemon
from support.rights import identity

import k8s_ws_proxy
from k8s_ws_proxy.devcluster import Container, DevCluster, Pod, User, World, grant

BIN = Path(sys.executable).parent
NAMESPACE = "catalyst-system"


def commands(text):
    """The indented lines under the title of the first signed request."""
    (block,) = re.findall(r"first signed request\..*?\n\n((?:  .*\n)+)", text)
    return block


@pytest.fixture
async def cluster():
    rendered = render()
    proxy = Pod(
        "k8s-ws-proxy-2x4fz",
        (Container("proxy"),),
        NAMESPACE,
        rendered.one("DaemonSet")["spec"]["template"]["metadata"]["labels"],
    )
    others = (Pod("api-0", (Container("api"),), NAMESPACE), Pod("web-0", (Container("web"),), "team"))
    users = (
        User("admin", "admin", (grant("*", "*"),)),
        # The rights that the chart gives, and no others.
        User("proxy", "proxy", grants(rendered.one("ClusterRole"))),
    )
    async with DevCluster(World((*others, proxy), users, ("default", NAMESPACE, "team"))) as running:
        yield running


@pytest.fixture
def paste(cluster, tmp_path):
    """Starts a proxy with these values of the chart, and runs what the notes then say."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "secret").write_bytes(SECRET)

    async def run(over):
        rendered = render(over).environ
        environ = {name: value for name, value in rendered.items() if name.startswith(("ALLOWED_", "ACCEPTED_"))}
        kubeconfig = cluster.write_kubeconfig(tmp_path / "proxy.kubeconfig", "proxy")
        async with running_daemon(kubeconfig, tmp_path, **environ) as daemon:
            text = commands(notes({**over, "port": daemon.port}))
            # A container of the embedded cluster has the host's files: ours stand elsewhere than the image's.
            text = text.replace(render().environ["SHARED_SECRET_DIR"], str(tmp_path / "keys"))
            text = text.replace("-- k8s-ws-proxy ", f"-- {BIN / 'k8s-ws-proxy'} ")
            environment = {
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(tmp_path),
                "KUBECONFIG": str(cluster.write_kubeconfig(tmp_path / "admin.kubeconfig")),
            }
            shell = await asyncio.create_subprocess_exec(
                "sh", "-eu", "-c", text, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=-1, stderr=-1
            )
            stdout, stderr = await shell.communicate()
            line = await daemon.event("session ended")
        return shell.returncode, stdout.decode(), stderr.decode(), line

    return run


async def test_the_first_signed_request_works_as_it_is_pasted(paste):
    status, stdout, stderr, line = await paste({})
    assert (status, stderr) == (0, "")
    assert stdout == f"k8s-ws-proxy {k8s_ws_proxy.__version__}\n"
    assert (line["namespace"], line["pod"]) == (NAMESPACE, "k8s-ws-proxy-2x4fz")


async def test_it_goes_to_a_namespace_that_may_be_reached(paste):
    status, stdout, stderr, line = await paste({"allowedNamespaces": ["team"]})
    assert (status, stderr) == (0, "")
    assert "usr" in stdout.split()
    assert (line["namespace"], line["pod"]) == ("team", "web-0")


@pytest.mark.parametrize("accepted", ["v1", "v2"])
async def test_it_is_signed_as_the_proxy_takes_it(paste, accepted):
    status, _, stderr, line = await paste({"signatures": {"accepted": [accepted]}})
    assert (status, stderr) == (0, "")
    assert line["mode"] == {"v1": "hmac", "v2": "rfc9421"}[accepted]


@pytest.mark.parametrize(
    ("named", "user"),
    [
        ({}, "jane"),
        ({"userPrefix": "oidc:"}, "jane"),
        ({"userPrefix": "oidc:", "users": ["oidc:-o'b\"$x"]}, "-o'b\"$x"),
    ],
)
async def test_it_names_the_user_who_was_granted_the_rights(paste, named, user):
    status, _, stderr, line = await paste({**identity("user", **named), "allowedNamespaces": ["team"]})
    assert (status, stderr) == (0, "")
    assert (line["pod"], line["user"]) == ("web-0", user)


def test_it_is_left_out_where_exec_is_switched_off():
    assert "first signed request" not in notes({"allowedSubresources": ["log"]})


def test_off_says_so():
    text = notes({"enabled": False})
    assert "nothing is installed" in text
    assert "kubectl" not in text


def test_callers_are_told_where_to_go_and_with_what():
    text = notes({"port": 81, "hmacSecret": {"name": "theirs", "key": "entry"}}, namespace="there")
    assert "http://k8s-ws-proxy.there.svc.cluster.local:81," in text
    assert "entry entry of Secret theirs in namespace there" in text
    assert "pods of namespace there" in text
    assert "those whom networkPolicy.namespaces" in notes({"networkPolicy": {"namespaces": ["a"]}})
    assert "  from " not in notes({"networkPolicy": {"enabled": False}})


def test_what_was_asked_for_and_left_out_is_told():
    asked = {"tls": {"enabled": True}, "podMonitor": {"enabled": True}}
    text = notes(asked)
    assert "NO TLS listener" in text
    assert "no monitoring.coreos.com/v1" in text
    assert "https://" not in text
    there = notes(asked, apis=(CERT_MANAGER, PROMETHEUS_OPERATOR))
    assert "https://k8s-ws-proxy.catalyst-system.svc.cluster.local:8443" in there
    assert "WARNING" not in there
    assert "WARNING" not in notes({})


def test_a_guacd_that_only_comes_in_by_another_name_is_pointed_out():
    """It may be let in by its common name and be guacd by its DNS name."""
    asked = {"tls": {"enabled": True}, "guacdSubjects": ["guacd", "terminal.example.org"]}
    warning = "WARNING: guacdSubjects names terminal.example.org, and neither tls.clientSubject nor tls.extraClient"
    assert warning in notes(asked, apis=(CERT_MANAGER,))
    named = {"tls": {"enabled": True, "extraClientSubjects": ["terminal.example.org"]}}
    assert "WARNING" not in notes({**asked, **named}, apis=(CERT_MANAGER,))
    assert "guacdSubjects" not in notes({"guacdSubjects": ["guacd"]})


def test_who_gets_the_pages_for_a_browser_is_told():
    text = notes({"webTerminal": {"enabled": True}, "port": 81})
    assert "/terminal/, /watch/ and /replay/, are there for whoever reaches port 81" in text
    assert "publicUrl tells browsers where that is, and isn't set" in text
    assert "isn't set" not in notes({"webTerminal": {"enabled": True}, "publicUrl": "wss://{node}.example"})
    assert "/terminal/" not in notes({})


def test_helm_says_it():
    told = helm("install", "release", str(CHART), "--dry-run=client", "--output=json", "--namespace", NAMESPACE)
    assert json.loads(told)["info"]["notes"].strip() == notes({"enabled": False}).strip()
