"""What is shown of a pod."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s_ws_proxy.wire.requests.pod_redaction import lacks_terminal, redacted_pod

POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {
        "name": "web",
        "namespace": "default",
        "uid": "u",
        "labels": {"app": "web"},
        "managedFields": [{"manager": "kubelet"}],
        "annotations": {
            "kubectl.kubernetes.io/default-container": "app",
            "kubectl.kubernetes.io/last-applied-configuration": "a password",
        },
    },
    "spec": {
        "serviceAccountName": "web",
        "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
        "initContainers": [{"name": "side", "restartPolicy": "Always", "env": [{"name": "A", "value": "a password"}]}],
        "containers": [
            {
                "name": "app",
                "image": "registry/app",
                "stdin": True,
                "tty": True,
                "args": ["--password=a password"],
                "env": [{"name": "PASSWORD", "value": "a password"}],
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP", "hostPort": 80}],
            },
            {"name": "other", "ports": None},
        ],
    },
    "status": {"phase": "Running", "podIP": "10.0.0.1", "hostIP": "10.0.0.2", "message": "a password"},
}


SHOWN = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {
        "name": "web",
        "namespace": "default",
        "annotations": {"kubectl.kubernetes.io/default-container": "app"},
    },
    "spec": {
        "containers": [
            {
                "name": "app",
                "stdin": True,
                "tty": True,
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            },
            {"name": "other", "ports": None},
        ],
        "initContainers": [{"name": "side", "restartPolicy": "Always"}],
    },
    "status": {"phase": "Running"},
}


def test_of_a_pod_only_what_kubectl_looks_at_is_shown():
    assert redacted_pod(POD) == SHOWN
    assert redacted_pod(SHOWN) == SHOWN
    assert "password" not in json.dumps(redacted_pod(POD))


@pytest.mark.parametrize(
    "pod",
    [
        None,
        [],
        "Pod",
        {},
        {"kind": "Secret", "data": {"a": "b"}},
        {"kind": "Pod", "metadata": "x"},
        {"kind": "Pod", "metadata": {"name": {"a": "b"}}},
        {"kind": "Pod", "spec": {"containers": [{"name": ["x"]}]}},
    ],
    ids=repr,
)
def test_what_is_no_pod(pod):
    with pytest.raises(ValueError, match="not a Pod"):
        redacted_pod(pod)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["metadata", "spec", "containers", "name", "status", "env"]), inner)
        ),
    )
)
def test_no_shape_shows_anything_else(inner):
    try:
        shown = redacted_pod({"kind": "Pod", "spec": inner, "metadata": inner, "status": inner})
    except ValueError:
        return
    assert "env" not in json.dumps(shown)


ATTACHED = {
    "kind": "Pod",
    "metadata": {},
    "spec": {
        "containers": [{"name": "app"}, {"name": "shell", "tty": True}],
        "initContainers": [{"name": "setup", "tty": True}, {"name": "side"}],
        "ephemeralContainers": [{"name": "debugger", "tty": True}, {"name": "dump", "tty": False}],
    },
}


@pytest.mark.parametrize(
    ("container", "bare"),
    [
        (None, True),
        ("app", True),
        ("shell", False),
        ("setup", False),
        ("side", True),
        ("debugger", False),
        ("dump", True),
        ("of no pod", False),
    ],
)
def test_which_containers_have_no_terminal(container, bare):
    assert lacks_terminal(ATTACHED, container) is bare


def test_a_pod_without_other_kinds_of_containers():
    bare = {"kind": "Pod", "spec": {"containers": [{"name": "app"}], "initContainers": None}}
    assert lacks_terminal(bare, "app")
    assert not lacks_terminal(bare, "debugger"), "of one that isn't there nothing is said"
