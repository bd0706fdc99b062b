//! Text scrapes of `/metrics`, in Prometheus' text format or OpenMetrics.
//!
//! One file is one scrape of one process, or of several after lines `### URL`. When it was made is told by the samples'
//! own timestamps (OpenMetrics: seconds, Prometheus: milliseconds), else by a comment `# scraped UNIX_SECONDS`, which the
//! commands in `docs/calibration.md` write, else only by the file's name: `before*` or `after*`.
//!
//! Which process it is is told by its own metrics: kube-scheduler and YuniKorn export `scheduler_*` and `yunikorn_*`, the API
//! server `apiserver_request_*`, etcd `etcd_server_*`; else by a label `job`.
//!
//! Source: the exposition formats' specifications; scrapes of Kubernetes 1.36 and etcd 3.6.
//!
//! Cost: O(bytes).
use super::series::{Labels, Point, Process, Samples};

/// A line that is no sample.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct BadLine {
    /// Line, 1 the first.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Where a scrape without a clock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Before the run.
    Before,
    /// After it.
    After,
}

struct Sample<'a> {
    name: &'a str,
    labels: Labels,
    value: f64,
    stamp: Option<&'a str>,
}

/// Reads a label's quoted value; returns it and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 2..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                c => value.push(c),
            },
            c => value.push(c),
        }
    }
    None
}

fn labels(text: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start())?;
        labels.insert(name.trim().to_owned(), value);
        rest = after.trim_start();
        rest = rest.strip_prefix(',').map_or(rest, str::trim_start);
    }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if name.is_empty() || !name.chars().all(valid) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Labels::new(), rest),
    };
    // An exemplar follows after ` # `.
    let rest = rest.split(" # ").next()?;
    let mut words = rest.split_whitespace();
    let value = number(words.next()?)?;
    let stamp = words.next();
    if words.next().is_some() || stamp.is_some_and(|s| number(s).is_none()) {
        return None;
    }
    Some(Sample { name, labels, value, stamp })
}

/// Whether a text looks like a scrape.
#[must_use]
pub fn is_exposition(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    match lines.next() {
        Some(line) => sample(line).is_some(),
        None => text.contains("# TYPE "),
    }
}

/// Adds a scrape to the samples. Returns the processes that it is of.
///
/// # Errors
/// A line that is neither a comment nor a sample; no clock and no order; nothing that says which process it is.
pub fn read(text: &str, order: Option<Order>, samples: &mut Samples) -> Result<Vec<Process>, BadLine> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut from = 0;
    while from < lines.len() {
        let next = lines[from + 1..].iter().position(|l| l.starts_with("### "));
        let to = next.map_or(lines.len(), |at| from + 1 + at);
        if let Some(process) = section(&lines, from, to, order, samples)? {
            found.push(process);
        }
        from = to;
    }
    if found.is_empty() {
        let message = "holds metrics of none of kube-scheduler, YuniKorn, kube-apiserver and etcd: expected names that begin \
                       with scheduler_, yunikorn_, apiserver_request_ or etcd_server_"
            .to_owned();
        return Err(BadLine { line: 1, message });
    }
    Ok(found)
}

/// One process' scrape: the lines of a file, or those between two `### `.
fn section(
    lines: &[&str],
    from: usize,
    to: usize,
    order: Option<Order>,
    samples: &mut Samples,
) -> Result<Option<Process>, BadLine> {
    let mut scraped_s = None;
    let mut parsed = Vec::new();
    let mut open_metrics = false;
    for (at, line) in lines.iter().enumerate().take(to).skip(from) {
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            open_metrics |= comment.trim() == "EOF";
            if let Some(time) = comment.trim().strip_prefix("scraped ") {
                let time = time.trim().parse::<f64>().ok().filter(|t| t.is_finite() && *t > 0.0);
                let message =
                    || format!("`{line}`: expected `# scraped UNIX_SECONDS`, as `date +%s.%N` prints them");
                scraped_s = Some(time.ok_or_else(|| BadLine { line: at + 1, message: message() })?);
            }
            continue;
        }
        if line.is_empty() {
            continue;
        }
        let bad = || {
            let shown: String = line.chars().take(80).collect();
            let message = format!(
                "`{shown}` is no sample: expected NAME{{LABEL=\"VALUE\",..}} NUMBER; save the answer of /metrics as it is"
            );
            BadLine { line: at + 1, message }
        };
        parsed.push((at + 1, sample(line).ok_or_else(bad)?));
    }
    // A scheduler also exports some apiserver_* of its libraries, so the more telling names decide.
    let named: Vec<Process> = parsed.iter().filter_map(|(_, s)| Process::of_metric(s.name)).collect();
    let whole =
        [Process::Scheduler, Process::Etcd, Process::ApiServer].into_iter().find(|p| named.contains(p));
    let several = parsed.iter().any(|(_, s)| s.labels.contains_key("job"));
    let mut any = None;
    for (line, s) in parsed {
        let process = match Process::of_metric(s.name) {
            Some(process) => process,
            None if several => Process::of_labels(&s.labels),
            None => whole.unwrap_or_else(|| Process::of_labels(&s.labels)),
        };
        if process == Process::Other {
            continue;
        }
        any = whole.or(Some(process));
        let (at_s, timed) = match (s.stamp.and_then(number), scraped_s, order) {
            (Some(stamp), ..) => (if open_metrics { stamp } else { stamp / 1000.0 }, true),
            (None, Some(at_s), _) => (at_s, true),
            (None, None, Some(Order::Before)) => (0.0, false),
            (None, None, Some(Order::After)) => (1.0, false),
            (None, None, None) => {
                let message = "nothing says when this was scraped: name the file before.* or after.*, or write a first line \
                               `# scraped UNIX_SECONDS`"
                    .to_owned();
                return Err(BadLine { line, message });
            }
        };
        samples.add(s.name, process, s.labels, Point { at_s, value: s.value }, timed);
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_with_labels_escapes_and_stamps() {
        let s = sample(r#"a_b{x="1",y="q\"\\\n}"} 2.5e+06 1700000000.5"#).unwrap();
        assert_eq!((s.name, s.value, s.stamp), ("a_b", 2.5e6, Some("1700000000.5")));
        assert_eq!(s.labels["y"], "q\"\\\n}");
        assert!((sample("up 1").unwrap().value - 1.0).abs() < f64::EPSILON);
        assert!(sample("a{le=\"+Inf\"} +Inf").unwrap().value.is_infinite());
        for wrong in ["", "a", "a{b} 1", "a{b=\"c\" 1", "a one", "a 1 2 3", "<html> 1", "{\"a\": 1}"] {
            assert!(sample(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_process_is_told_by_its_metrics() {
        let mut samples = Samples::default();
        let text = "### https://a/metrics\napiserver_audit_event_total 0\nprocess_cpu_seconds_total 7\nscheduler_pending_pods{queue=\"active\"} 0\n\
                    ### https://b/metrics\napiserver_request_total{code=\"200\"} 3\nprocess_cpu_seconds_total 9\n";
        let found = read(text, Some(Order::Before), &mut samples).unwrap();
        assert_eq!(found, [Process::Scheduler, Process::ApiServer]);
        let cpu: Vec<(Process, f64)> = samples
            .select("process_cpu_seconds_total", &[])
            .map(|(p, _, points)| (p, points[0].value))
            .collect();
        assert_eq!(cpu, [(Process::Scheduler, 7.0), (Process::ApiServer, 9.0)]);
        assert!(!samples.is_timed());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let mut samples = Samples::default();
        let error = |text: &str, order| read(text, order, &mut Samples::default()).unwrap_err().to_string();
        assert!(
            error("scheduler_a 1\nnonsense here\n", Some(Order::After))
                .starts_with("line 2: `nonsense here`")
        );
        assert!(error("scheduler_a 1\n", None).contains("before.* or after.*"));
        assert!(error("node_cpu_seconds_total 1\n", Some(Order::After)).contains("scheduler_, yunikorn_"));
        assert!(error("# scraped yesterday\nscheduler_a 1\n", None).contains("date +%s.%N"));
        read("# scraped 1700000000.25\nscheduler_a 1\n", None, &mut samples).unwrap();
        assert!(samples.is_timed());
    }
}
