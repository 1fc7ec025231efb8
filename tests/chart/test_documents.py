"""The chart's README, schema, Blueprint and version against what they speak of."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest
import yaml
from support.chart import CHART

import k8s_ws_proxy


@pytest.fixture(scope="module")
def readme():
    """chart/readme.py, which stands outside of every package."""
    spec = importlib.util.spec_from_file_location("readme", CHART / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def loaded(name):
    return yaml.safe_load((CHART / name).read_text("utf-8"))


def test_the_readme_is_the_one_that_the_values_make(readme):
    assert (CHART / "README.md").read_text("utf-8") == readme.readme(), "make chart-readme"


def test_every_value_is_a_row(readme):
    rows = readme.rows((CHART / "values.yaml").read_text("utf-8"))
    assert len(rows) > 50
    assert all(row.text for row in rows)


def test_a_row_has_its_path_its_default_and_its_comment(readme):
    values = "a:\n  # -- Some\n  # words.\n  b: [1, x]\n  # -- A whole.\n  c:\n    d: 1\n    e: 2\n"
    assert readme.rows(values) == [("a.b", '`[1, "x"]`', "Some words."), ("a.c", '`{"d": 1, "e": 2}`', "A whole.")]


def test_a_comment_that_is_no_row_is_no_row_s(readme):
    values = "# A remark.\n\n# -- A row.\na: 1\n"
    assert [row.text for row in readme.rows(values)] == ["A row."]


@pytest.mark.parametrize("values", ["a: 1\n", "a:\n  # without the dashes\n  b: 1\n", "# -- Too far away.\n\na: 1\n"])
def test_a_value_without_a_comment_is_refused(readme, values):
    with pytest.raises(readme.UndocumentedError, match="has no comment"):
        readme.rows(values)


def test_the_version_is_the_package_s():
    chart, blueprint = loaded("Chart.yaml"), loaded("blueprint.yaml")
    assert chart["version"] == chart["appVersion"] == blueprint["spec"]["version"] == k8s_ws_proxy.__version__


def test_the_blueprint_is_the_chart_s():
    blueprint = loaded("blueprint.yaml")
    assert (blueprint["apiVersion"], blueprint["kind"]) == ("catalyst.openova.io/v1alpha1", "Blueprint")
    assert blueprint["metadata"]["name"] == loaded("Chart.yaml")["name"] == "bp-k8s-ws-proxy"
    assert blueprint["spec"]["upgrades"] == {"from": ["0.x"]}


def test_what_the_blueprint_lets_one_set_are_values_with_these_defaults():
    def compare(schema, values):
        for name, inner in schema["properties"].items():
            if inner["type"] == "object":
                compare(inner, values[name])
            else:
                assert inner["default"] == values[name], name

    compare(loaded("blueprint.yaml")["spec"]["configSchema"], loaded("values.yaml"))


def closed(schema, path=""):
    """Every object of the schema that lists its names, with them."""
    if schema.get("additionalProperties") is False:
        yield path, set(schema["properties"])
        for name, inner in schema["properties"].items():
            yield from closed(inner, f"{path}.{name}" if path else name)


def test_the_schema_names_exactly_the_values():
    schema, values = json.loads((CHART / "values.schema.json").read_text("utf-8")), loaded("values.yaml")
    objects = dict(closed(schema))
    assert len(objects) > 10
    for path, names in objects.items():
        here = values
        for name in filter(None, path.split(".")):
            here = here[name]
        assert set(here) == names, path or "the top"


def test_nothing_of_ours_takes_a_name_that_is_not_known():
    # The others are Kubernetes's own objects, and maps of labels and annotations.
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))["properties"]["k8sWsProxy"]
    free = {name for name, inner in schema["properties"].items() if inner.get("type") == "object"} - {
        path for path, _names in closed(schema)
    }
    assert free == {
        "containerSecurityContext",
        "nodeSelector",
        "podAnnotations",
        "podSecurityContext",
        "resources",
        "updateStrategy",
    }


def test_a_value_that_a_document_speaks_of_is_one():
    values = loaded("values.yaml")
    documents = [*CHART.parent.glob("*.md"), *(CHART.parent / "docs").rglob("*.md"), CHART / "README.md"]
    spoken_of = {
        name for path in documents for name in re.findall(r"\bk8sWsProxy((?:\.\w+)+)", path.read_text("utf-8"))
    }
    assert ".image.tag" in spoken_of
    for name in spoken_of:
        here = values["k8sWsProxy"]
        for part in name.split(".")[1:]:
            assert part in here, f"k8sWsProxy{name}"
            here = here[part]
