"""What podpace writes for other programs, read by such programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import podpace

GATE = Path("ci") / "example" / "node-sort-gate.yaml"


def test_junit_is_read_by_a_junit_parser(repository: Path, tmp_path: Path) -> None:
    junitparser = pytest.importorskip("junitparser")
    bad = tmp_path / "bad.yaml"
    bad.write_text((repository / GATE).read_text().replace("nodeSort: btree", "nodeSort: fullsort"))
    code, _, _ = podpace.command("check", bad, "--junit", tmp_path / "junit.xml")
    assert code == 3
    report = junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    (suite,) = list(report)
    assert (suite.name, suite.tests, suite.failures, suite.errors) == ("node-sort-gate", 3, 2, 0)
    failed = {case.name: case.result[0].message for case in suite if not case.is_passed}
    assert any("sort_comparison" in name for name in failed) and all(failed.values())
    # A second pass through the parser keeps everything: it is the parser's own dialect.
    again = junitparser.JUnitXml.fromstring(report.tostring())
    assert [case.name for case in next(iter(again))] == [case.name for case in suite]


def test_sarif_is_read_by_a_sarif_model(tmp_path: Path) -> None:
    sarif = pytest.importorskip("sarif_pydantic")
    trace = tmp_path / "trace"
    trace.mkdir()
    (trace / "pods.jsonl").write_text('{"submit_ns": 0, "seq": 0, "uid": "a", "spec_id": 7, "app": "x"}\n')
    (trace / "specs.jsonl").write_text("")
    (trace / "nodes.jsonl").write_text("")
    try:
        podpace.command("trace", "validate", trace, "--sarif", tmp_path / "findings.sarif")
    except podpace.PodpaceError:
        pass  # findings end it with an error; the file is there all the same
    log = sarif.Sarif.model_validate(json.loads((tmp_path / "findings.sarif").read_text()))
    assert log.version == "2.1.0" and log.runs[0].tool.driver.name == "podpace"
