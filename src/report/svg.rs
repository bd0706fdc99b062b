//! Charts as SVG text: lines over time, distributions, heat maps, ribbons.
//!
//! Static pictures first: without JavaScript they show everything but the numbers under the pointer. Colours are classes
//! (`s0`.. for series, `h0`..`h9` for heat), so that the page's style sheet decides on light, dark and print; series are
//! told apart by dashes too. Each chart carries its data as JSON, from which the page's script makes tooltips and the
//! table behind "Data".
//!
//! Cost: O(points); heat maps merge equal neighbours of a row.
use std::fmt::Write as _;

use serde_json::json;

/// Colours of series before they repeat (with other dashes).
pub const COLOURS: usize = 8;
/// Steps of heat.
const HEAT: usize = 10;
const WIDTH: f64 = 800.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 34.0;

/// Text that may stand in HTML and SVG.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A number for people: four significant digits, thousands apart.
#[must_use]
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let magnitude = value.abs();
    let text = if magnitude >= 1000.0 {
        let digits = format!("{value:.0}");
        let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
        let groups: Vec<&str> = {
            let first = digits.len() % 3;
            let head = (first > 0).then(|| &digits[..first]);
            head.into_iter().chain((first..digits.len()).step_by(3).map(|at| &digits[at..at + 3])).collect()
        };
        return format!("{sign}{}", groups.join("\u{202f}"));
    } else if magnitude >= 100.0 {
        format!("{value:.1}")
    } else if magnitude >= 1.0 {
        format!("{value:.2}")
    } else if magnitude >= 0.001 || magnitude == 0.0 {
        format!("{value:.4}")
    } else {
        format!("{value:.2e}")
    };
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A span of seconds for people.
#[must_use]
pub fn span(seconds: f64) -> String {
    if seconds.is_finite() && seconds >= 0.0 {
        crate::engine::time::format_short((seconds * 1e9) as u64)
    } else {
        "–".to_owned()
    }
}

/// Up to about `count` round values from 0 to `max`, `max` excluded unless round.
fn ticks(max: f64, count: f64) -> Vec<f64> {
    if max <= 0.0 {
        return vec![0.0];
    }
    let rough = max / count;
    let power = libm::pow(10.0, libm::floor(libm::log10(rough)));
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= rough).unwrap_or(power);
    (0..=(max / step + 1e-9) as u32).map(|i| f64::from(i) * step).collect()
}

/// Round times from 0 to `max` seconds.
fn time_ticks(max_s: f64) -> Vec<f64> {
    let steps = [
        1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14_400.0,
        21_600.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0,
    ];
    match steps.into_iter().find(|step| max_s / step <= 10.0) {
        Some(step) if max_s >= 3.0 => {
            (0..=(max_s / step + 1e-9) as u32).map(|i| f64::from(i) * step).collect()
        }
        _ => ticks(max_s, 8.0),
    }
}

/// `0`, `30s`, `5m`, `1h20m`, `1d`.
fn time_label(seconds: f64) -> String {
    if seconds <= 0.0 {
        "0".to_owned()
    } else if seconds < 60.0 {
        format!("{}s", number(seconds))
    } else if seconds < 3600.0 {
        let (minutes, rest) = ((seconds / 60.0) as u64, seconds % 60.0);
        if rest < 0.5 { format!("{minutes}m") } else { format!("{minutes}m{rest:.0}s") }
    } else if seconds < 172_800.0 {
        let (hours, rest) = ((seconds / 3600.0) as u64, seconds % 3600.0 / 60.0);
        if rest < 0.5 { format!("{hours}h") } else { format!("{hours}h{rest:.0}m") }
    } else {
        format!("{}d", number(seconds / 86_400.0))
    }
}

/// A label below a time axis; one near the right edge ends there instead of being cut off.
fn mark(out: &mut String, x: f64, y: f64, label: &str) {
    let half = label.chars().count() as f64 * 3.5;
    let (x, anchor) = if x + half > WIDTH { (WIDTH - 2.0, "end") } else { (x, "middle") };
    let _ = write!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{label}</text>");
}

/// One line of a chart.
pub struct Line {
    /// Name in the legend.
    pub name: String,
    /// Points in order of x.
    pub points: Vec<(f64, f64)>,
}

/// What an axis shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Seconds since t = 0.
    Time,
    /// Spans, logarithmic.
    LogSpan,
    /// Plain numbers from 0.
    Number,
    /// 0 to 1 as a percentage.
    Share,
}

/// Limits of logarithmic spans, seconds.
fn log_range(lines: &[Line]) -> (f64, f64) {
    let xs = || lines.iter().flat_map(|l| &l.points).map(|(x, _)| *x);
    let least = xs().filter(|x| *x > 0.0).fold(f64::INFINITY, f64::min);
    let most = xs().fold(1e-3, f64::max);
    let floor = if least.is_finite() { libm::floor(libm::log10(least.max(1e-6))) } else { -3.0 };
    let ceiling = libm::ceil(libm::log10(most) + 1e-9).max(floor + 1.0);
    // More decades than six make every line steep.
    (floor.max(ceiling - 6.0), ceiling)
}

fn legend(names: &[String], out: &mut String) {
    if names.len() < 2 && names.first().is_none_or(String::is_empty) {
        return;
    }
    out.push_str("<ul class=\"legend\">");
    for (i, name) in names.iter().enumerate() {
        let _ = write!(
            out,
            "<li><svg width=\"26\" height=\"10\" aria-hidden=\"true\"><line x1=\"0\" y1=\"5\" x2=\"26\" y2=\"5\" class=\"s{} d{}\"/></svg>{}</li>",
            i % COLOURS,
            i / COLOURS % 3,
            escape(name)
        );
    }
    out.push_str("</ul>");
}

fn begin(out: &mut String, title: &str, height: f64) {
    let _ = write!(
        out,
        "<div class=\"scroll\"><svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" tabindex=\"0\" aria-label=\"{}\">",
        escape(title)
    );
}

fn end(out: &mut String, data: &serde_json::Value) {
    // `<` can't end the script element inside JSON's escapes.
    let data = data.to_string().replace('<', "\\u003c");
    let _ = write!(
        out,
        "<line class=\"cross\" visibility=\"hidden\"/></svg></div><script type=\"application/json\">{data}</script>"
    );
}

/// Axes with labels; returns the functions from values to pixels.
fn axes(
    out: &mut String,
    height: f64,
    (x_axis, x_min, x_max): (Axis, f64, f64),
    (y_axis, y_max): (Axis, f64),
    y_label: &str,
) -> (impl Fn(f64) -> f64 + use<>, impl Fn(f64) -> f64 + use<>) {
    let (plot_w, plot_h) = (WIDTH - LEFT - RIGHT, height - TOP - BOTTOM);
    let x = move |value: f64| {
        let value = if x_axis == Axis::LogSpan { libm::log10(value.max(1e-9)) } else { value };
        LEFT + ((value - x_min) / (x_max - x_min).max(1e-12)).clamp(0.0, 1.0) * plot_w
    };
    let y = move |value: f64| TOP + plot_h - (value / y_max.max(1e-12)).clamp(0.0, 1.0) * plot_h;
    let bottom = TOP + plot_h;
    for tick in ticks(y_max, 5.0) {
        let at = y(tick);
        let label = if y_axis == Axis::Share { format!("{:.0} %", tick * 100.0) } else { number(tick) };
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0
        );
    }
    let marks: Vec<(f64, String)> = match x_axis {
        Axis::LogSpan => (x_min as i32..=x_max as i32)
            .map(|p| libm::pow(10.0, f64::from(p)))
            .map(|v| (v, span(v)))
            .collect(),
        _ => time_ticks(x_max).into_iter().map(|v| (v, time_label(v))).collect(),
    };
    for (value, label) in marks {
        let at = x(value);
        let _ = write!(out, "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom:.1}\"/>");
        mark(out, at, bottom + 18.0, &label);
    }
    let _ =
        write!(out, "<text class=\"unit\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>", TOP - 8.0, escape(y_label));
    (x, y)
}

/// Rounds for the data behind a chart: six significant digits are more than a tooltip shows.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// Lines over time, or distributions over logarithmic spans.
#[must_use]
pub fn lines(title: &str, y_label: &str, x_axis: Axis, y_axis: Axis, lines: &[Line]) -> String {
    let height = 270.0;
    let mut out = String::from("<figure>");
    legend(&lines.iter().map(|l| l.name.clone()).collect::<Vec<_>>(), &mut out);
    begin(&mut out, title, height);
    let points = || lines.iter().flat_map(|l| &l.points);
    let (x_min, x_max) = match x_axis {
        Axis::LogSpan => log_range(lines),
        _ => (0.0, points().map(|(x, _)| *x).fold(0.0, f64::max)),
    };
    let y_max =
        if y_axis == Axis::Share { 1.0 } else { points().map(|(_, y)| *y).fold(0.0, f64::max) * 1.06 };
    let (x, y) = axes(&mut out, height, (x_axis, x_min, x_max), (y_axis, y_max), y_label);
    for (i, line) in lines.iter().enumerate() {
        let mut path = String::new();
        for (at, (px, py)) in line.points.iter().enumerate() {
            let _ = write!(path, "{}{:.1} {:.1}", if at == 0 { 'M' } else { 'L' }, x(*px), y(*py));
        }
        let _ = write!(out, "<path class=\"line s{} d{}\" d=\"{path}\"/>", i % COLOURS, i / COLOURS % 3);
    }
    let series: Vec<_> = lines
        .iter()
        .map(|l| {
            let xs: Vec<f64> = l.points.iter().map(|(x, _)| rounded(*x)).collect();
            let ys: Vec<f64> = l.points.iter().map(|(_, y)| rounded(*y)).collect();
            json!({"name": l.name, "x": xs, "y": ys})
        })
        .collect();
    let data = json!({
        "kind": "lines",
        "box": [LEFT, TOP, WIDTH - LEFT - RIGHT, height - TOP - BOTTOM],
        "range": [x_min, x_max],
        "log": x_axis == Axis::LogSpan,
        "share": y_axis == Axis::Share,
        "unit": y_label,
        "series": series,
    });
    end(&mut out, &data);
    out + "</figure>"
}

/// A heat map over time.
pub struct Heat<'a> {
    /// For the screen reader.
    pub title: &'a str,
    /// Names of the rows, the lowest first.
    pub rows: &'a [String],
    /// By row: a value a column.
    pub values: &'a [Vec<f64>],
    /// Where the columns begin and the last ends, seconds.
    pub edges_s: &'a [f64],
    /// What full heat is.
    pub most: f64,
    /// Whether small values are made visible by their square root.
    pub root: bool,
    /// Whether values are shares.
    pub share: bool,
    /// Unit of a value.
    pub unit: &'a str,
}

impl Heat<'_> {
    fn level(&self, value: f64) -> usize {
        let share = (value / self.most.max(1e-12)).clamp(0.0, 1.0);
        let share = if self.root { libm::sqrt(share) } else { share };
        if value <= 0.0 { 0 } else { ((share * (HEAT - 1) as f64 + 0.999) as usize).clamp(1, HEAT - 1) }
    }

    /// The picture, with room of `left` pixels for the names of rows and `row_height` a row.
    #[must_use]
    pub fn svg(&self, left: f64, row_height: f64) -> String {
        let plot_h = row_height * self.rows.len() as f64;
        let (plot_w, height) = (WIDTH - left - RIGHT, TOP + plot_h + BOTTOM - 8.0);
        let mut out = String::from("<figure>");
        begin(&mut out, self.title, height);
        let end_s = self.edges_s.last().copied().unwrap_or(1.0).max(1e-9);
        let x = |seconds: f64| left + seconds / end_s * plot_w;
        let mut paths = vec![String::new(); HEAT];
        let every = ((14.0 / row_height) as usize).max(1);
        for (row, (name, values)) in self.rows.iter().zip(self.values).enumerate() {
            let top = TOP + plot_h - (row + 1) as f64 * row_height;
            if row % every == 0 {
                let _ = write!(
                    out,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    left - 6.0,
                    top + row_height / 2.0 + 4.0,
                    escape(name)
                );
            }
            let mut at = 0;
            while at < values.len() {
                let level = self.level(values[at]);
                let from = at;
                while at < values.len() && self.level(values[at]) == level {
                    at += 1;
                }
                let (a, b) = (x(self.edges_s[from]), x(self.edges_s[at]));
                if level > 0 {
                    let _ = write!(paths[level], "M{a:.1} {top:.1}H{b:.1}v{row_height:.1}H{a:.1}z");
                }
            }
        }
        let _ = write!(
            out,
            "<rect class=\"h0\" x=\"{left}\" y=\"{TOP}\" width=\"{plot_w:.1}\" height=\"{plot_h:.1}\"/>"
        );
        for (level, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
            let _ = write!(out, "<path class=\"h{level}\" d=\"{path}\"/>");
        }
        for tick in time_ticks(end_s) {
            mark(&mut out, x(tick), TOP + plot_h + 17.0, &time_label(tick));
        }
        let edges: Vec<f64> = self.edges_s.iter().map(|e| rounded(*e)).collect();
        let values: Vec<Vec<f64>> =
            self.values.iter().map(|row| row.iter().map(|v| rounded(*v)).collect()).collect();
        let data = json!({
            "kind": "heat",
            "box": [left, TOP, plot_w, plot_h],
            "range": [0.0, end_s],
            "share": self.share,
            "unit": self.unit,
            "rows": self.rows,
            "edges": edges,
            "values": values,
        });
        end(&mut out, &data);
        out + "</figure>"
    }
}

/// One span of a ribbon.
pub struct Segment {
    /// Begin, seconds.
    pub from_s: f64,
    /// End, seconds.
    pub to_s: f64,
    /// What held things up.
    pub name: String,
    /// Class of its colour; none: grey.
    pub colour: Option<usize>,
}

/// Ribbons over time, one a run, on one axis.
#[must_use]
pub fn ribbons(title: &str, rows: &[(String, Vec<Segment>)]) -> String {
    let row_height = 34.0;
    let left = if rows.len() > 1 { 190.0 } else { 14.0 };
    let plot_w = WIDTH - left - RIGHT;
    let plot_h = row_height * rows.len() as f64;
    let height = TOP + plot_h + BOTTOM - 8.0;
    let end_s = rows.iter().flat_map(|(_, s)| s).map(|s| s.to_s).fold(1e-9, f64::max);
    let x = |seconds: f64| left + seconds / end_s * plot_w;
    let mut out = String::from("<figure>");
    begin(&mut out, title, height);
    for (row, (name, segments)) in rows.iter().enumerate() {
        let top = TOP + row as f64 * row_height;
        if rows.len() > 1 {
            let short: String = if name.chars().count() > 28 {
                name.chars().take(27).chain(['…']).collect()
            } else {
                name.clone()
            };
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                top + 20.0,
                escape(&short)
            );
        }
        for s in segments {
            let (a, b) = (x(s.from_s), x(s.to_s));
            let class = s.colour.map_or_else(|| "none".to_owned(), |c| format!("f{}", c % COLOURS));
            let _ = write!(
                out,
                "<rect class=\"ribbon {class}\" x=\"{a:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                top + 2.0,
                (b - a).max(0.5),
                row_height - 6.0
            );
            // About seven pixels a letter.
            if b - a > s.name.chars().count() as f64 * 7.0 + 8.0 {
                let _ = write!(
                    out,
                    "<text class=\"on\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    f64::midpoint(a, b),
                    top + 20.0,
                    escape(&s.name)
                );
            }
        }
    }
    for tick in time_ticks(end_s) {
        mark(&mut out, x(tick), TOP + plot_h + 17.0, &time_label(tick));
    }
    let segments: Vec<_> = rows
        .iter()
        .map(|(name, segments)| {
            let spans: Vec<_> =
                segments.iter().map(|s| json!([rounded(s.from_s), rounded(s.to_s), s.name])).collect();
            json!({"name": name, "spans": spans})
        })
        .collect();
    let data = json!({"kind": "ribbons", "box": [left, TOP, plot_w, plot_h], "range": [0.0, end_s], "rows": segments});
    end(&mut out, &data);
    out + "</figure>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(100.0, 5.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(0.0, 5.0), [0.0]);
        assert_eq!(ticks(7.3, 5.0), [0.0, 2.0, 4.0, 6.0]);
        assert_eq!(time_ticks(65.0), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        assert_eq!(time_label(90.0), "1m30s");
        assert_eq!(time_label(7200.0), "2h");
        assert_eq!(time_label(4800.0), "1h20m");
    }

    #[test]
    fn numbers_are_short() {
        let texts: Vec<String> = [0.0, 0.25, 12.5, 204.13, 50_000.0, 1_234_567.0, -1500.0].map(number).into();
        assert_eq!(
            texts,
            ["0", "0.25", "12.5", "204.1", "50\u{202f}000", "1\u{202f}234\u{202f}567", "-1\u{202f}500"]
        );
    }

    #[test]
    fn names_cannot_break_out() {
        let line = Line { name: "</script><b>\"&".into(), points: vec![(0.0, 1.0), (1.0, 2.0)] };
        let svg = lines("a<b", "", Axis::Time, Axis::Number, &[line]);
        assert!(!svg.contains("<b>") && !svg.contains("a<b"), "{svg}");
        assert_eq!(svg.matches("</script>").count(), 1);
    }
}
