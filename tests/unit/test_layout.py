"""Where tests are: for k8s_ws_proxy/a/b.py in tests/unit/a/test_b.py, or in test_b_aspect.py beside it.

Those of benchmarks/ are in tests/unit/benchmarks.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "k8s_ws_proxy"
UNIT = ROOT / "tests/unit"
PROTOCOL = ROOT / "tests/protocol"
NO_MODULE = {
    "test_image_audit": ".ci/image/audit.py",
    "test_image_files": "the Containerfile, the locks, and what builds by them",
    "test_imports": "what each command imports",
    "test_layers": "who imports whom",
    "test_layout": "this",
    "test_no_descriptors": "one cause, followed through kube, sessions and web",
    "test_operations": "docs/operations.md",
    "test_readme": "the documents' tables",
    "test_recordings_page": "docs/reference/recordings.md",
    "test_sessions_page": "docs/reference/sessions.md",
    "test_threat_model": "docs/threat-model.md",
    "test_workflows": ".github/workflows",
}


def module_of(name, folder):
    """The module in ``folder`` that the tests ``name`` are of: the one with the longest name that fits."""
    stems = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    fitting = [stem for stem in stems if f"{name}_".startswith(f"test_{stem}_")]
    return max(fitting, key=len, default=None)


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("test_*.py"))


@pytest.mark.parametrize("path", files(UNIT), ids=str)
def test_a_unit_test_s_file_names_the_module_that_it_tests(path):
    if len(path.parts) == 1 and path.stem in NO_MODULE:
        return
    folder = path.parent if path.parts[0] == "benchmarks" else PACKAGE.relative_to(ROOT) / path.parent
    module = module_of(path.stem, ROOT / folder)
    assert module, f"there is no {folder}/{path.stem.removeprefix('test_')}.py"
    whole = ".".join(folder.parts)
    text = (UNIT / path).read_text("utf-8")
    assert f"{whole}.{module} import" in text or f"{whole} import" in text, "it doesn't import what it is named after"


def test_the_list_of_those_that_name_none_has_no_other():
    assert {f"{name}.py" for name in NO_MODULE} <= {str(path) for path in files(UNIT)}
    assert not any(module_of(name, PACKAGE) for name in NO_MODULE)


@pytest.mark.parametrize("path", files(PROTOCOL), ids=str)
def test_a_protocol_test_s_file_names_a_module_of_wire_that_has_no_unit_tests(path):
    (folder,) = [each for each in (PACKAGE / "wire").iterdir() if each.is_dir() and module_of(path.stem, each)]
    module = module_of(path.stem, folder)
    others = (UNIT / folder.relative_to(PACKAGE)).glob("test_*.py")
    assert module not in {module_of(each.stem, folder) for each in others}, "one module's tests are in one place"
