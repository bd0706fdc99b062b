//! Findings of a trace as SARIF 2.1.0, which code scanning of GitHub and others read.
//!
//! Every code of [`CODES`] is a rule, every finding a result at the trace's manifest: findings are of rows, which have no
//! lines in a table of Parquet.
//!
//! Cost: O(findings).
use std::path::Path;

use serde_json::{Value, json};

use crate::experiment::run::VERSION;
use crate::trace::validate::{CODES, Findings};

/// The log of one check.
#[must_use]
pub fn sarif(findings: &Findings, trace: &Path) -> Value {
    let level = |code: &str| if code.starts_with('E') { "error" } else { "warning" };
    let rules: Vec<Value> = CODES
        .iter()
        .map(|(code, says)| {
            json!({
                "id": code,
                "shortDescription": {"text": says},
                "defaultConfiguration": {"level": level(code)},
            })
        })
        .collect();
    // A URI has forward slashes and no blanks.
    let uri =
        trace.join("trace.json").to_string_lossy().replace('\\', "/").replace('%', "%25").replace(' ', "%20");
    let results: Vec<Value> = findings
        .findings
        .iter()
        .map(|finding| {
            let text = format!("{} ({} rows; first: {})", finding.message, finding.count, finding.first);
            json!({
                "ruleId": finding.code,
                "ruleIndex": CODES.iter().position(|(code, _)| *code == finding.code),
                "level": level(&finding.code),
                "message": {"text": text},
                "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}}}],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "podpace", "semanticVersion": VERSION, "rules": rules}},
            "results": results,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::validate::Finding;

    #[test]
    fn a_finding_points_to_its_rule() {
        let finding = Finding { code: "W003".into(), message: "specs".into(), count: 2, first: "3".into() };
        let findings = Findings { findings: vec![finding], ..Findings::default() };
        let log = sarif(&findings, Path::new("my traces/a"));
        let result = &log["runs"][0]["results"][0];
        let rule = &log["runs"][0]["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
        assert_eq!(rule["id"], "W003");
        assert_eq!(result["level"], "warning");
        let uri = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(uri, "my%20traces/a/trace.json");
    }
}
