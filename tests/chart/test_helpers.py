"""The chart's own functions, each over many inputs in one rendering by a chart that is nothing but its helpers."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from support.chart import CHART, helm, render

from k8s_ws_proxy import settings

HOSTS = [
    "ghcr.io",
    "registry.example.com",
    "registry.example.com:5000",
    "localhost",
    "localhost:5000",
    "10.0.0.1",
    "10.0.0.1:80",
    "[::1]:5000",
]
PATHS = [
    "proxy",
    "team/proxy",
    "openova-io/openova/k8s-ws-proxy",
    "a/b/c/d/e",
    "my.team/proxy",
    "localhost/proxy",
    "proxy.v2",
    "a__b/c--d",
]
MIRRORS = [
    "mirror.example.com",
    "mirror.example.com:443",
    "mirror.example.com/cache",
    "mirror.example.com:443/a/b/",
    "[::1]:5000",
]


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """Calls one helper once for each case; the results, as texts."""
    directory = tmp_path_factory.mktemp("helpers")
    (directory / "templates").mkdir()
    shutil.copy(CHART / "templates" / "_helpers.tpl", directory / "templates")
    (directory / "Chart.yaml").write_text("{apiVersion: v2, name: helpers, version: 0.0.0}", "utf-8")
    (directory / "templates" / "all.yaml").write_text(
        "results:\n{{- range .Values.cases }}\n- {{ include $.Values.helper . | quote }}\n{{- end }}\n", "utf-8"
    )

    def call(helper, cases):
        values = json.dumps({"helper": f"bp-k8s-ws-proxy.{helper}", "cases": cases})
        (told,) = yaml.safe_load_all(helm("template", "x", str(directory), "--values", "-", stdin=values))
        assert len(told["results"]) == len(cases)
        return told["results"]

    return call


def image(repository, *, registry="", tag="1.2.3", digest=""):
    return {
        "Values": {
            "global": {"imageRegistry": registry},
            "k8sWsProxy": {"image": {"repository": repository, "tag": tag, "digest": digest}},
        }
    }


def test_without_a_mirror_the_repository_is_left_as_it_is(call):
    repositories = [f"{host}/{path}" for host in HOSTS for path in PATHS]
    assert call("image", [image(repository) for repository in repositories]) == [
        f"{each}:1.2.3" for each in repositories
    ]


def test_a_mirror_takes_the_place_of_the_host_and_of_nothing_else(call):
    cases = [(host, path, mirror) for host in HOSTS for path in PATHS for mirror in MIRRORS]
    told = call("image", [image(f"{host}/{path}", registry=mirror) for host, path, mirror in cases])
    assert told == [f"{mirror.rstrip('/')}/{path}:1.2.3" for _host, path, mirror in cases]


def test_a_repository_without_a_host_keeps_all_of_its_path(call):
    paths = ["proxy", "team/proxy", "openova-io/openova/k8s-ws-proxy", "a__b/c--d"]
    assert call("image", [image(path, registry="mirror.example.com:5000") for path in paths]) == [
        f"mirror.example.com:5000/{path}:1.2.3" for path in paths
    ]


def test_a_digest_pins_and_the_tag_is_not_looked_at(call):
    digest = f"sha256:{'0123456789abcdef' * 4}"
    cases = [
        image("ghcr.io/a/b", digest=digest, tag=tag, registry=mirror)
        for tag in ("", "1")
        for mirror in ("", "m.example")
    ]
    assert call("image", cases) == [f"ghcr.io/a/b@{digest}", f"m.example/a/b@{digest}"] * 2


def test_values_without_a_global_part_are_fine(call):
    alone = {"Values": {"k8sWsProxy": {"image": {"repository": "ghcr.io/a/b", "tag": "1", "digest": ""}}}}
    assert call("image", [alone]) == ["ghcr.io/a/b:1"]


def test_every_container_has_the_one_image():
    for mirror, expected in (
        ("", "ghcr.io/openova-io/openova/k8s-ws-proxy:1.2.3"),
        ("m.example", "m.example/openova-io/openova/k8s-ws-proxy:1.2.3"),
    ):
        pods = render(everywhere={"global": {"imageRegistry": mirror}}).pods
        assert len(pods) == 3
        for pod in pods.values():
            assert "initContainers" not in pod
            assert [(each["image"], each["imagePullPolicy"]) for each in pod["containers"]] == [
                (expected, "IfNotPresent")
            ]


units = st.sampled_from(["ns", "us", "µs", "ms", "s", "m", "h"])
numbers = st.one_of(st.integers(0, 10_000).map(str), st.floats(0, 10_000).map(lambda number: f"{number:.3f}"))
durations = st.lists(st.tuples(numbers, units).map("".join), min_size=1, max_size=3).map("".join)


@hypothesis_settings(max_examples=15)
@given(batch=st.lists(durations, min_size=40, max_size=40))
def test_a_duration_is_as_long_as_the_daemon_takes_it_for(call, batch):
    for told, duration in zip(call("seconds", batch), batch, strict=True):
        # The daemon's goes no further than microseconds.
        assert float(told) == pytest.approx(settings.seconds_of(duration), rel=1e-9, abs=1e-5), duration
