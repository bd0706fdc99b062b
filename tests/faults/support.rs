//! What these tests share: the text of a scenario becomes a run, and a run tells its figures.
use std::path::Path;

use podpace::cluster::PodId;
use podpace::experiment::run::{Completed, Environment, FaultSummary, RunSpec};
use podpace::experiment::simulation::Simulation;
use podpace::scenario::plan::Plan;
use podpace::scenario::{Diagnostic, Document};

/// In ns.
pub const SECOND: u64 = 1_000_000_000;

/// A scenario from what comes after its name.
pub fn scenario(name: &str, rest: &str) -> String {
    format!("apiVersion: podpace/v1\nkind: Scenario\nname: {name}\n{rest}")
}

fn spec(text: &str) -> RunSpec {
    let document = Document::parse("scenario.yaml", text, None).unwrap();
    RunSpec::of_scenario(document).unwrap_or_else(|errors| panic!("{}\n{text}", errors[0]))
}

/// Runs to the end.
pub fn run(text: &str) -> Completed {
    spec(text).simulate(&Environment::built_in()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// What a run is of.
pub fn plan(text: &str) -> Plan {
    spec(text).plan(&Environment::built_in()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Has not begun.
pub fn simulation(text: &str) -> Simulation {
    Simulation::new(&plan(text), &Environment::built_in().registry).unwrap()
}

/// A run that pauses, is saved and goes on is the one that does not.
pub fn assert_goes_on(plan: &Plan, pauses_ns: impl IntoIterator<Item = u64>) {
    let registry = Environment::built_in().registry;
    let times = |simulation: Simulation| {
        let pods = simulation.run().cluster.pods;
        (0..pods.len() as PodId).map(|pod| *pods.timeline(pod)).collect::<Vec<_>>()
    };
    let whole = times(Simulation::new(plan, &registry).unwrap());
    for at_ns in pauses_ns {
        let mut first = Simulation::new(plan, &registry).unwrap();
        assert_eq!(first.advance(at_ns), None, "{at_ns} ns");
        let mut bytes = Vec::new();
        first.save(&mut bytes).unwrap();
        let again = Simulation::restore(plan, &registry, &bytes).unwrap();
        assert_eq!(times(again), whole, "{at_ns} ns");
    }
}

/// What a reader sees of a scenario in which something is wrong, and that it says what to do next.
pub fn message(text: &str) -> String {
    message_of(text, None)
}

/// The same, with files in a folder.
pub fn message_of(text: &str, folder: Option<&Path>) -> String {
    let document = Document::parse("scenario.yaml", text, folder).expect("it is YAML");
    let errors = match RunSpec::of_scenario(document) {
        Err(errors) => errors.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n\n"),
        Ok(spec) => match spec.plan(&Environment::built_in()) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("nothing is wrong with\n{text}"),
        },
    };
    assert!(errors.contains("help: "), "no next step: {errors}");
    errors
}

/// Compares a page of messages with the one that is kept.
pub fn assert_page(name: &str, page: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../fixtures/faults/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, page));
}

/// The one fault of a run.
pub fn only(completed: &Completed) -> &FaultSummary {
    assert_eq!(completed.summary.faults.len(), 1);
    &completed.summary.faults[0]
}

/// A metric.
pub fn metric(completed: &Completed, name: &str) -> f64 {
    completed.summary.metrics[name]
}

/// A metric that counts.
pub fn count(completed: &Completed, name: &str) -> u64 {
    metric(completed, name) as u64
}
