//! Predicted over measured as a picture (SVG): a point a run, its 5 to 95 % range, the diagonal.
//!
//! Both axes are logarithmic, so that a distance from the diagonal is a relative error wherever it stands.
//!
//! Cost: O(runs).
use super::validate::{Comparison, Validation};

const SIZE: f64 = 330.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 46.0;
const WIDTH: f64 = 2.0 * (SIZE + LEFT) + 40.0;
const HEIGHT: f64 = TOP + SIZE + 86.0;
/// One colour a class, told apart by people who do not see all colours (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const PANELS: [(&str, &str); 2] =
    [("bound_per_s_p10_p90", "pods bound per second"), ("last_bound_s", "last binding, seconds")];

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// 1, 2 and 5 times powers of ten within a range.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let mut found = Vec::new();
    let from = libm::floor(libm::log10(low)) as i32;
    for power in from..from + 12 {
        for step in [1.0, 2.0, 5.0] {
            let tick = step * libm::pow(10.0, f64::from(power));
            if low <= tick && tick <= high {
                found.push(tick);
            }
        }
    }
    found
}

/// The picture of throughput and of the last binding.
#[must_use]
pub fn svg(validation: &Validation) -> String {
    let mut classes: Vec<&str> = validation.runs.iter().map(|r| r.class.as_str()).collect();
    classes.sort_unstable();
    classes.dedup();
    let colour = |class: &str| {
        let at = classes.iter().position(|c| *c == class).unwrap_or(0);
        COLOURS[at % COLOURS.len()]
    };
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<title>Predicted over measured</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (panel, (metric, title)) in PANELS.iter().enumerate() {
        let x0 = LEFT + panel as f64 * (SIZE + LEFT + 20.0);
        let points: Vec<(&str, &str, &Comparison)> = validation
            .runs
            .iter()
            .filter(|r| !r.timed_out)
            .filter_map(|r| Some((r.run.as_str(), r.class.as_str(), r.metrics.get(*metric)?)))
            .filter(|(_, _, c)| c.measured > 0.0 && c.predicted > 0.0)
            .collect();
        let all = || {
            points
                .iter()
                .flat_map(|(_, _, c)| [c.measured, c.predicted, c.high, c.low.max(c.predicted / 20.0)])
        };
        let (low, high) = (all().fold(f64::INFINITY, f64::min) * 0.8, all().fold(0.0, f64::max) * 1.25);
        text += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"13\">{title}</text>\n\
             <rect x=\"{x0:.1}\" y=\"{TOP:.1}\" width=\"{SIZE}\" height=\"{SIZE}\" fill=\"none\" stroke=\"#888\"/>\n",
            x0 + SIZE / 2.0,
            TOP - 12.0
        );
        if points.is_empty() {
            continue;
        }
        let place = |v: f64| (libm::log(v.clamp(low, high) / low) / libm::log(high / low)) * SIZE;
        let (x, y) = (|v: f64| x0 + place(v), |v: f64| TOP + SIZE - place(v));
        for tick in ticks(low, high) {
            text += &format!(
                "<path d=\"M{0:.1} {TOP:.1}V{1:.1}M{x0:.1} {2:.1}H{3:.1}\" stroke=\"#e4e4e4\" fill=\"none\"/>\n\
                 <text x=\"{0:.1}\" y=\"{4:.1}\" text-anchor=\"middle\">{tick}</text>\n\
                 <text x=\"{5:.1}\" y=\"{6:.1}\" text-anchor=\"end\">{tick}</text>\n",
                x(tick),
                TOP + SIZE,
                y(tick),
                x0 + SIZE,
                TOP + SIZE + 15.0,
                x0 - 6.0,
                y(tick) + 4.0
            );
        }
        text += &format!(
            "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"#444\" stroke-dasharray=\"4 3\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">measured</text>\n",
            x(low),
            y(low),
            x(high),
            y(high),
            x0 + SIZE / 2.0,
            TOP + SIZE + 32.0
        );
        let middle = TOP + SIZE / 2.0;
        text += &format!(
            "<text x=\"{0:.1}\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 {0:.1} {middle:.1})\">predicted</text>\n",
            x0 - 42.0
        );
        for (run, class, c) in points {
            let paint = colour(class);
            let fill = if c.covered() { paint } else { "white" };
            let (name, cx, cy) = (escape(run), x(c.measured), y(c.predicted));
            let (from, to) = (y(c.low.max(low)), y(c.high));
            let Comparison { measured, predicted, low: least, high: most } = c;
            text += &format!(
                "<g stroke=\"{paint}\" fill=\"{fill}\"><title>{name}: measured {measured:.4}, predicted {predicted:.4} \
                 ({least:.4} to {most:.4})</title><path d=\"M{cx:.1} {from:.1}V{to:.1}\"/>\
                 <circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3.5\"/></g>\n"
            );
        }
    }
    let mut at = LEFT;
    for class in &classes {
        text += &format!(
            "<circle cx=\"{at:.1}\" cy=\"{0:.1}\" r=\"4\" fill=\"{1}\"/><text x=\"{2:.1}\" y=\"{3:.1}\">{4}</text>\n",
            HEIGHT - 22.0,
            colour(class),
            at + 9.0,
            HEIGHT - 18.0,
            escape(class)
        );
        at += 40.0 + 6.5 * class.chars().count() as f64;
    }
    text += &format!(
        "<text x=\"{at:.1}\" y=\"{:.1}\">hollow: measured outside the range of 5 to 95 % (the bar)</text>\n</svg>\n",
        HEIGHT - 18.0
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::validate::ValidatedRun;

    #[test]
    fn every_run_is_a_point_and_names_are_escaped() {
        let c = Comparison { measured: 100.0, predicted: 110.0, low: 90.0, high: 105.0 };
        let run = |name: &str, c| ValidatedRun {
            run: name.to_owned(),
            class: "cpu-bound".to_owned(),
            timed_out: false,
            bound: (1, 1),
            metrics: [("bound_per_s_p10_p90".to_owned(), c)].into(),
            notes: Vec::new(),
            not_told: Vec::new(),
        };
        let validation = Validation {
            runs: vec![run("a<b", c), run("c", Comparison { high: 95.0, ..c })],
            ..Validation::default()
        };
        let text = svg(&validation);
        assert_eq!(text.matches("<circle").count(), 3);
        assert!(
            text.contains("a&lt;b: measured 100.0000, predicted 110.0000 (90.0000 to 105.0000)"),
            "{text}"
        );
        assert!(!text.contains("NaN") && !text.contains("inf"));
        assert!(svg(&Validation::default()).ends_with("</svg>\n"));
    }
}
