//! Answers of Prometheus' HTTP API: `/api/v1/query` (a vector, or a matrix for `NAME[RANGE]`) and `/api/v1/query_range`
//! (a matrix), as `curl` saves them.
//!
//! Queries must ask for the counters and histograms themselves (`scheduler_schedule_attempts_total`, `{__name__=~"..."}`):
//! of `rate(..)` and `sum(..)` the name is gone, and with it what the number is. Which process a series is of is told by
//! its name, else by `job`, `component`, `service`, `container`, `pod`.
//!
//! Source: Prometheus, "HTTP API", "Expression query result formats".
//!
//! Cost: O(points).
use serde::Deserialize;

use super::series::{Labels, Point, Process, Samples};

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    result_type: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Series {
    metric: Labels,
    #[serde(default)]
    value: Option<(f64, String)>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    histogram: Option<serde_json::Value>,
    #[serde(default)]
    histograms: Option<serde_json::Value>,
}

/// Whether a JSON value is an answer of Prometheus.
#[must_use]
pub fn is_answer(value: &serde_json::Value) -> bool {
    value.get("status").is_some_and(serde_json::Value::is_string)
        && (value.get("data").is_some() || value.get("errorType").is_some())
}

/// Adds an answer to the samples. Returns how many series were of a known process.
///
/// # Errors
/// An answer that is an error, scalar or empty; series without a name; a value that is no number.
pub fn read(value: serde_json::Value, samples: &mut Samples) -> Result<usize, String> {
    let answer: Answer = serde_json::from_value(value).map_err(|e| {
        format!("is no answer of Prometheus ({e}): save what /api/v1/query_range sends, as it is")
    })?;
    if answer.status != "success" {
        let what = answer.error.unwrap_or_else(|| "no message".to_owned());
        return Err(format!("Prometheus answered with status `{}`: {what}; repeat the query", answer.status));
    }
    let data = answer.data.ok_or("has no `data`: the answer is cut off; save it again")?;
    if !matches!(data.result_type.as_str(), "matrix" | "vector") {
        return Err(format!(
            "resultType `{}`: expected `matrix` or `vector`; query a counter or histogram by its name",
            data.result_type
        ));
    }
    let series: Vec<Series> = serde_json::from_value(data.result)
        .map_err(|e| format!("result: {e}: expected series with `metric` and `value` or `values`"))?;
    if series.is_empty() {
        return Err("the result is empty: no series has the name that was asked for, at this time; check the name, the \
                    labels and start and end (Unix seconds)"
            .to_owned());
    }
    let mut kept = 0;
    for (index, one) in series.into_iter().enumerate() {
        let Some(name) = one.metric.get("__name__").cloned() else {
            return Err(format!(
                "result[{index}].metric has no __name__: a function (rate, sum, increase) took it; query the counter itself"
            ));
        };
        if one.histogram.is_some() || one.histograms.is_some() {
            return Err(format!("{name}: native histograms are not read; query its classic {name}_bucket"));
        }
        let process = Process::of_metric(&name).unwrap_or_else(|| Process::of_labels(&one.metric));
        if process == Process::Other {
            continue;
        }
        kept += 1;
        let mut labels = one.metric;
        labels.remove("__name__");
        for (at_s, text) in one.values.into_iter().chain(one.value) {
            let value: f64 = match text.as_str() {
                "+Inf" => f64::INFINITY,
                text => text.parse().map_err(|_| format!("{name} at {at_s}: `{text}` is not a number"))?,
            };
            if !value.is_nan() {
                samples.add(&name, process, labels.clone(), Point { at_s, value }, true);
            }
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn matrices_and_vectors_join_into_series() {
        let mut samples = Samples::default();
        let metric = json!({"__name__": "scheduler_schedule_attempts_total", "job": "kube-scheduler", "result": "scheduled"});
        let matrix = json!({"status": "success", "data": {"resultType": "matrix", "result": [
            {"metric": metric, "values": [[1_700_000_000.0, "0"], [1_700_000_015.0, "1500"]]}]}});
        let vector = json!({"status": "success", "data": {"resultType": "vector", "result": [
            {"metric": metric, "value": [1_700_000_030.5, "3000"]},
            {"metric": {"__name__": "up", "job": "node-exporter"}, "value": [1_700_000_030.5, "1"]}]}});
        assert!(is_answer(&matrix));
        assert_eq!(read(matrix, &mut samples), Ok(1));
        assert_eq!(read(vector, &mut samples), Ok(1));
        samples.settle();
        let increase = samples.increase("scheduler_schedule_attempts_total", &[("result", "scheduled")]);
        assert!((increase.unwrap().amount - 3000.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |value: serde_json::Value| read(value, &mut Samples::default()).unwrap_err();
        let answer = |kind: &str, result: serde_json::Value| json!({"status": "success", "data": {"resultType": kind, "result": result}});
        let failed =
            json!({"status": "error", "errorType": "bad_data", "error": "parse error: unexpected <eof>"});
        assert!(error(failed).contains("parse error: unexpected <eof>"));
        assert!(error(answer("scalar", json!([1.0, "2"]))).contains("`scalar`"));
        assert!(error(answer("vector", json!([]))).contains("the result is empty"));
        assert!(
            error(answer("vector", json!([{"metric": {}, "value": [1.0, "2"]}]))).contains("no __name__")
        );
        let series = json!([{"metric": {"__name__": "scheduler_x"}, "value": [1.0, "two"]}]);
        assert!(error(answer("vector", series)).contains("`two` is not a number"));
        assert!(error(json!({"status": "success"})).contains("cut off"));
        let native = json!([{"metric": {"__name__": "scheduler_x"}, "histogram": [1.0, {"count": "1"}]}]);
        assert!(error(answer("vector", native)).contains("native histograms"));
    }
}
