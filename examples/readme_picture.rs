//! Draws docs/study.svg: the YuniKorn study on Kubemark, published points over simulated curves.
//!
//! ```sh
//! cargo run --release --example readme_picture > docs/study.svg
//! ```
//!
//! Both halves come from the experiments as they stand: points, runs, metrics and published values are read from
//! `experiments/`, nothing is typed in here. Same version, same bytes.
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use podpace::engine::Nanos;
use podpace::experiment::check::{self, CurvePoint};
use podpace::experiment::report::stage_times;
use podpace::experiment::run::{Environment, RunError, runs_of};
use podpace::scenario::Document;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 470.0;

/// The panel of curves: seconds to the right, pods upwards.
const LEFT: f64 = 70.0;
const TOP: f64 = 92.0;
const RIGHT: f64 = 590.0;
const BOTTOM: f64 = 400.0;
const MOST_SECONDS: f64 = 420.0;
const MOST_PODS: f64 = 50_000.0;

/// The panel of throughputs: pods/s to the right.
const BARS_LEFT: f64 = 660.0;
const BARS_RIGHT: f64 = 870.0;
const MOST_PODS_PER_SECOND: f64 = 210.0;

/// Distinct for colour-blind eyes, and dark enough on white.
const SMALL_CLUSTER: &str = "#0072b2";
const LARGE_CLUSTER: &str = "#c8500a";

/// One run of the study of predicates.
struct Curve {
    run: String,
    nodes: usize,
    predicates: bool,
    points: Vec<CurvePoint>,
    /// When each pod started, since the first did, ascending.
    started_ns: Vec<Nanos>,
    median_error: f64,
}

/// One published throughput.
struct Throughput {
    run: String,
    published: f64,
    simulated: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let environment = Environment::built_in();
    let curves = curves(&environment)?;
    let throughputs = throughputs(&environment)?;
    print!("{}", picture(&curves, &throughputs)?);
    Ok(())
}

fn experiment(name: &str) -> Result<Document, RunError> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments").join(name);
    Ok(Document::load(&path)?)
}

fn checked(document: &Document, environment: &Environment) -> Result<Vec<check::Row>, RunError> {
    let checked = check::check(vec![document.clone()], environment, |_| (), || ())?;
    Ok(checked.into_iter().flat_map(|file| file.rows).collect())
}

fn curves(environment: &Environment) -> Result<Vec<Curve>, Box<dyn Error>> {
    let document = experiment("kubemark-2021-predicates.yaml")?;
    let expect = document.decode_experiment().map_err(RunError::Input)?.spec.expect;
    let points = check::load_curves(&document, &expect).map_err(RunError::Input)?;
    let rows = checked(&document, environment)?;
    let mut curves = Vec::new();
    for run in runs_of(&document).map_err(RunError::Input)? {
        let index = expect
            .iter()
            .position(|e| e.curve.is_some() && e.run.as_deref() == Some(&run.name))
            .ok_or("a run without a curve")?;
        let finished = run.simulate(environment)?.finished;
        let mut started_ns = stage_times(&finished.cluster.pods, |t| t.running_ns);
        let first = *started_ns.first().ok_or("no pod started")?;
        started_ns.iter_mut().for_each(|t| *t -= first);
        curves.push(Curve {
            nodes: finished.cluster.nodes.len(),
            predicates: run.scenario.scheduler.predicates.unwrap_or(true),
            points: points[&index].clone(),
            started_ns,
            median_error: rows.get(index).and_then(|r| r.curve).ok_or("no fit")?.median,
            run: run.name,
        });
    }
    Ok(curves)
}

fn throughputs(environment: &Environment) -> Result<Vec<Throughput>, Box<dyn Error>> {
    let rows = checked(&experiment("kubemark-2021-throughput.yaml")?, environment)?;
    let with_value = rows.into_iter().filter_map(|row| {
        row.published.map(|published| Throughput { run: row.run, published, simulated: row.simulated })
    });
    Ok(with_value.collect())
}

fn picture(curves: &[Curve], throughputs: &[Throughput]) -> Result<String, std::fmt::Error> {
    let mut svg = String::new();
    writeln!(
        svg,
        "<!-- Generated from experiments/ by examples/readme_picture.rs, which says how; do not edit. -->"
    )?;
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         role=\"img\" font-family=\"-apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif\" font-size=\"13\" \
         fill=\"#24292f\">"
    )?;
    writeln!(svg, "<title>YuniKorn and kube-scheduler on Kubemark: published and simulated</title>")?;
    // A ground of its own, so that the picture reads the same on a dark page.
    writeln!(
        svg,
        "<rect x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\" fill=\"#ffffff\" stroke=\"#d0d7de\"/>",
        WIDTH - 1.0,
        HEIGHT - 1.0
    )?;
    left_panel(&mut svg, curves)?;
    right_panel(&mut svg, throughputs)?;
    writeln!(svg, "</svg>")?;
    Ok(svg)
}

fn x_of(seconds: f64) -> f64 {
    LEFT + seconds / MOST_SECONDS * (RIGHT - LEFT)
}

fn y_of(pods: f64) -> f64 {
    BOTTOM - pods / MOST_PODS * (BOTTOM - TOP)
}

fn left_panel(svg: &mut String, curves: &[Curve]) -> std::fmt::Result {
    text(
        svg,
        LEFT,
        32.0,
        "YuniKorn: 50,000 pods with and without predicates",
        "font-size=\"16\" font-weight=\"600\"",
    )?;
    text(svg, LEFT, 72.0, "pods started", "fill=\"#57606a\"")?;
    for pods in (0..=5).map(|i| f64::from(i) * 10_000.0) {
        let y = y_of(pods);
        writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#eaeef2\"/>")?;
        let label = if pods > 0.0 { format!("{},000", pods / 1000.0) } else { "0".to_owned() };
        text(svg, LEFT - 8.0, y + 4.0, &label, "text-anchor=\"end\" fill=\"#57606a\"")?;
    }
    for seconds in (0..=4).map(|i| f64::from(i) * 100.0) {
        let label = format!("{seconds} s");
        text(svg, x_of(seconds), BOTTOM + 20.0, &label, "text-anchor=\"middle\" fill=\"#57606a\"")?;
    }
    writeln!(svg, "<path d=\"M{LEFT} {BOTTOM}H{RIGHT}\" stroke=\"#8c959f\"/>")?;
    for curve in curves {
        let colour = if curve.nodes <= 2_000 { SMALL_CLUSTER } else { LARGE_CLUSTER };
        let dash = if curve.predicates { "" } else { " stroke-dasharray=\"7 4\"" };
        let path = path(&curve.started_ns)?;
        writeln!(
            svg,
            "<path id=\"{}\" d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
            curve.run
        )?;
        for point in curve.points.iter().filter(|p| p.t_s <= MOST_SECONDS) {
            writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.6\" fill=\"#ffffff\" stroke=\"{colour}\" stroke-width=\"1.6\"/>",
                x_of(point.t_s),
                y_of(point.count)
            )?;
        }
    }
    legend(svg, curves)
}

/// A step every 250 pods: finer than the picture shows.
fn path(started_ns: &[Nanos]) -> Result<String, std::fmt::Error> {
    let mut path = String::new();
    let last = started_ns.len().saturating_sub(1);
    for (pod, at) in started_ns.iter().enumerate().filter(|(pod, _)| pod % 250 == 0 || *pod == last) {
        let command = if path.is_empty() { 'M' } else { 'L' };
        write!(path, "{command}{:.1} {:.1}", x_of(*at as f64 / 1e9), y_of((pod + 1) as f64))?;
    }
    Ok(path)
}

fn legend(svg: &mut String, curves: &[Curve]) -> std::fmt::Result {
    let (x, mut y) = (350.0, 290.0);
    writeln!(
        svg,
        "<rect x=\"{}\" y=\"{}\" width=\"258\" height=\"116\" fill=\"#ffffff\" opacity=\"0.9\"/>",
        x - 14.0,
        y - 18.0
    )?;
    for curve in curves {
        let colour = if curve.nodes <= 2_000 { SMALL_CLUSTER } else { LARGE_CLUSTER };
        let dash = if curve.predicates { "" } else { " stroke-dasharray=\"7 4\"" };
        writeln!(svg, "<path d=\"M{x} {y}h30\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>")?;
        let on = if curve.predicates { "on" } else { "off" };
        let label = format!(
            "{},000 nodes, predicates {on}: {:.1} %",
            curve.nodes / 1_000,
            curve.median_error * 100.0
        );
        text(svg, x + 38.0, y + 4.5, &label, "")?;
        y += 21.0;
    }
    writeln!(
        svg,
        "<circle cx=\"{}\" cy=\"{y}\" r=\"3.6\" fill=\"#ffffff\" stroke=\"#57606a\" stroke-width=\"1.6\"/>",
        x + 15.0
    )?;
    text(svg, x + 38.0, y + 4.5, "published figure, points read off it", "")?;
    text(
        svg,
        LEFT,
        BOTTOM + 48.0,
        "Lines: simulated, with the median error of the time at the points. Time counts from the first started pod.",
        "font-size=\"12\" fill=\"#57606a\"",
    )
}

fn right_panel(svg: &mut String, throughputs: &[Throughput]) -> std::fmt::Result {
    let scale = |value: f64| value / MOST_PODS_PER_SECOND * (BARS_RIGHT - BARS_LEFT);
    text(svg, BARS_LEFT, 32.0, "Pods started per second", "font-size=\"16\" font-weight=\"600\"")?;
    let mut y = TOP;
    for throughput in throughputs {
        let (scheduler, size) = throughput.run.rsplit_once('-').unwrap_or((&throughput.run, ""));
        let nodes = size.replace('k', ",000 nodes");
        let colour = if size == "2k" { SMALL_CLUSTER } else { LARGE_CLUSTER };
        let name = if scheduler == "yunikorn" { "YuniKorn" } else { scheduler };
        text(svg, BARS_LEFT, y, &format!("{name}, {nodes}"), "fill=\"#57606a\"")?;
        let bars = [
            (8.0, colour, throughput.simulated, "simulated"),
            (31.0, "#afb8c1", throughput.published, "published"),
        ];
        for (down, fill, value, what) in bars {
            let width = scale(value);
            writeln!(
                svg,
                "<rect x=\"{BARS_LEFT}\" y=\"{}\" width=\"{width:.1}\" height=\"19\" rx=\"2\" fill=\"{fill}\"/>",
                y + down
            )?;
            let label = format!("{value:.0} {what}");
            let (at, style) = if width > 110.0 {
                let ink = if fill == colour { "fill=\"#ffffff\"" } else { "" };
                (BARS_LEFT + 8.0, ink)
            } else {
                (BARS_LEFT + width + 8.0, "")
            };
            text(svg, at, y + down + 14.0, &label, style)?;
        }
        y += 82.0;
    }
    Ok(())
}

fn text(svg: &mut String, x: f64, y: f64, text: &str, style: &str) -> std::fmt::Result {
    let space = if style.is_empty() { "" } else { " " };
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\"{space}{style}>{text}</text>")
}
