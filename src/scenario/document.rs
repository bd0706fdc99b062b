//! From a file, through `--set`, to checked types.
//!
//! A [`Document`] is one YAML file as a tree with places. `set` edits the tree before decoding, so that a wrong path or
//! value is told in the same words as a wrong line of the file, only with the argument in place of the line. Experiments
//! and sweeps decode into runs; each run is the scenario's tree with the run's fields set, and keeps its own document.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, did_you_mean, in_order, shorten};
use super::spec::{API_VERSION, ExperimentSpec, ScenarioSpec, StudySpec, SweepSpec};
use super::tree::{Class, Key, Node, Path, Place, Problem, Step, Value, build};
use super::validate::{self, Check};
use super::{decode, limits};
use crate::trace::source::refuse_special;

/// What a document describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentKind {
    /// One scenario.
    Scenario,
    /// A scenario, its runs and what is expected of them.
    Experiment,
    /// A grid of runs.
    Sweep,
    /// Measured runs, and how near their predictions have to be.
    MeasuredStudy,
}

/// The values of `kind:`.
const KINDS: [(&str, DocumentKind); 4] = [
    ("Scenario", DocumentKind::Scenario),
    ("Experiment", DocumentKind::Experiment),
    ("Sweep", DocumentKind::Sweep),
    ("MeasuredStudy", DocumentKind::MeasuredStudy),
];

/// Keys of an experiment's or sweep's own; `--set` on others goes to the scenario of each run.
const OWN_KEYS: [&str; 12] = [
    "apiVersion",
    "kind",
    "name",
    "description",
    "source",
    "scenario",
    "scenarioFile",
    "runs",
    "expect",
    "vary",
    "seeds",
    "classes",
];

/// Text that values of a document come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file as it was named, or the argument (`--set path=value`).
    pub name: String,
    /// The whole text.
    pub text: Arc<str>,
    /// The whole argument, `path=value`; none: a file.
    pub assignment: Option<Arc<str>>,
}

impl Source {
    /// Whether it is an argument.
    #[must_use]
    pub const fn is_argument(&self) -> bool {
        self.assignment.is_some()
    }
}

/// One YAML file as a tree that knows where each value stands.
#[derive(Clone, Debug)]
pub struct Document {
    tree: Node,
    kind: DocumentKind,
    sources: Vec<Source>,
    directory: Option<PathBuf>,
    /// Errors that left a usable tree (duplicate keys), told by `decode`.
    problems: Vec<Diagnostic>,
    /// Fields to set in the scenario of each run, after the run's own.
    run_sets: Vec<(Path, Node)>,
}

/// What a document decodes into.
#[derive(Clone, Debug)]
pub enum Spec {
    /// One scenario.
    Scenario(Box<ScenarioSpec>),
    /// An experiment with its runs.
    Experiment(Box<Experiment>),
    /// A sweep with its runs.
    Sweep(Box<Sweep>),
    /// A measured study.
    Study(Box<StudySpec>),
}

/// An experiment with its runs.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// What stands in the file.
    pub spec: ExperimentSpec,
    /// The runs in the file's order, each decoded and checked.
    pub runs: Vec<ScenarioRun>,
}

/// A sweep with its runs.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// What stands in the file.
    pub spec: SweepSpec,
    /// The points of the grid, the last axis fastest; each named by its settings, `path=value,path=value`.
    pub runs: Vec<ScenarioRun>,
}

/// One scenario of an experiment or sweep.
#[derive(Clone, Debug)]
pub struct ScenarioRun {
    /// Name of the run.
    pub name: String,
    /// Number of seeds: the scenario's and those after it.
    pub seeds: u64,
    /// The scenario with the run's fields set.
    pub scenario: ScenarioSpec,
    /// Its tree, for messages about a place in it and for further `set`.
    pub document: Document,
}

impl Document {
    /// Reads a file. `Err` holds what makes it unreadable as a whole; errors of single fields are told by `decode`.
    pub fn load(path: &FilePath) -> Result<Self, Vec<Diagnostic>> {
        let name = path.display().to_string();
        let text = read_text(path, &name).map_err(|error| vec![error])?;
        let directory =
            path.parent().map(|dir| if dir.as_os_str().is_empty() { FilePath::new(".") } else { dir });
        Self::parse(&name, &text, directory)
    }

    /// Reads a text. `name` stands in messages; paths in the text are relative to `directory`, and are not looked up if
    /// it is `None`.
    pub fn parse(name: &str, text: &str, directory: Option<&FilePath>) -> Result<Self, Vec<Diagnostic>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.len() as u64 > limits::FILE_BYTES {
            return Err(vec![too_large(name)]);
        }
        let source = Source { name: name.to_owned(), text: text.into(), assignment: None };
        let sources = vec![source];
        let mut problems = Vec::new();
        let built = build(text, 0, &mut problems);
        let mut diagnostics: Vec<Diagnostic> = problems.into_iter().map(|p| diagnose(&sources, p)).collect();
        let tree = match built {
            Err(problem) => {
                diagnostics.push(diagnose(&sources, problem));
                return Err(in_order(diagnostics));
            }
            Ok(None) => {
                let hint = format!("begin with `apiVersion: {API_VERSION}` and `kind: Scenario`");
                diagnostics.push(Diagnostic::of_file(name, "the file is empty", hint));
                return Err(diagnostics);
            }
            Ok(Some(tree)) => tree,
        };
        let fatal = |problem: Problem, mut diagnostics: Vec<Diagnostic>| {
            diagnostics.push(diagnose(&sources, problem));
            Err(in_order(diagnostics))
        };
        let problem = |place: Place, path: &str, message: String, hint: String| Problem {
            place: Some(place),
            path: Path::parse(path).unwrap_or_default(),
            message,
            hint: Some(hint),
        };
        if !matches!(tree.value, Value::Map(_)) {
            let message = format!("expected a mapping with apiVersion, kind and name, got {}", tree.kind());
            let hint = format!("begin with `apiVersion: {API_VERSION}` and `kind: Scenario`");
            return fatal(problem(tree.place, "", message, hint), diagnostics);
        }
        match tree.get("apiVersion") {
            None => {
                let message = "required, but missing".to_owned();
                let hint = format!("add `apiVersion: {API_VERSION}` as the first line");
                return fatal(problem(tree.place, "apiVersion", message, hint), diagnostics);
            }
            Some(node) if !matches!(&node.value, Value::Scalar(text, Class::Text) if text == API_VERSION) => {
                let message = format!("expected `{API_VERSION}`, got `{}`", node.shown());
                let hint = "this version of podpace reads no other".to_owned();
                return fatal(problem(node.place, "apiVersion", message, hint), diagnostics);
            }
            Some(_) => {}
        }
        let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        let kind = match tree.get("kind") {
            None => {
                let hint = format!("add `kind:` with one of {}", names.join(", "));
                return fatal(
                    problem(tree.place, "kind", "required, but missing".to_owned(), hint),
                    diagnostics,
                );
            }
            Some(node) => {
                let shown = node.shown();
                match KINDS.iter().find(|(name, _)| *name == shown) {
                    Some((_, kind)) => *kind,
                    None => {
                        let message = format!("expected one of {}, got `{shown}`", names.join(", "));
                        return fatal(
                            problem(node.place, "kind", message, did_you_mean(&shown, &names)),
                            diagnostics,
                        );
                    }
                }
            }
        };
        Ok(Self {
            tree,
            kind,
            sources,
            directory: directory.map(FilePath::to_owned),
            problems: diagnostics,
            run_sets: Vec::new(),
        })
    }

    /// What the document describes.
    pub fn kind(&self) -> DocumentKind {
        self.kind
    }

    /// The folder that paths in the document are relative to.
    pub fn directory(&self) -> Option<&FilePath> {
        self.directory.as_deref()
    }

    /// The texts that the document's values come from: the file first, then arguments and further files.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The file's name as it was given.
    pub fn name(&self) -> &str {
        &self.sources[0].name
    }

    /// Sets one field: `scheduler.client.qps=500`, `cluster.nodes[0].count=10`, `workload.deployments[*].replicas=5`,
    /// `cluster.nodes[0].template.labels["example.com/x"]=y`. The value is YAML; an empty one, or `null`, brings the
    /// default back. Missing keys on the way are made; `decode` says if one of them does not exist. On an experiment or
    /// sweep, a field that is not its own is set in the scenario of every run.
    pub fn set(&mut self, assignment: &str) -> Result<(), Box<Diagnostic>> {
        self.try_set(assignment).map_err(Box::new)
    }

    #[allow(clippy::result_large_err, reason = "boxed by its only caller")]
    fn try_set(&mut self, assignment: &str) -> Result<(), Diagnostic> {
        let argument = format!("--set {}", shorten(assignment));
        let error = |path: &str, message: &str, hint: &str| Diagnostic {
            path: path.to_owned(),
            ..Diagnostic::of_file(argument.clone(), message, hint)
        };
        let Some((path_text, value_text)) = assignment.split_once('=') else {
            return Err(error(
                "",
                "no `=` in it",
                "write `--set path=value`, such as scheduler.client.qps=500",
            ));
        };
        let path_text = path_text.trim();
        let path = Path::parse(path_text).map_err(|reason| {
            let hint = "a path looks like cluster.nodes[0].count or workload.deployments[*].replicas";
            error(path_text, &format!("not a path: {reason}"), hint)
        })?;
        if value_text.len() as u64 > limits::FILE_BYTES {
            return Err(too_large(&argument));
        }
        let source = self.sources.len() as u32;
        self.sources.push(Source {
            name: argument.clone(),
            text: value_text.into(),
            assignment: Some(assignment.into()),
        });
        let place = Place { source, line: 1, column: 1, width: 1 };
        let mut problems = Vec::new();
        let value = match build(value_text, source, &mut problems) {
            Ok(value) => value.unwrap_or(Node { place, value: Value::Scalar(String::new(), Class::Null) }),
            Err(problem) => {
                problems.clear();
                problems.push(problem);
                Node::map(place)
            }
        };
        if let Some(problem) = problems.into_iter().next() {
            let diagnostic = diagnose(&self.sources, problem);
            self.sources.pop();
            return Err(Diagnostic { path: path_text.to_owned(), ..diagnostic });
        }
        let is_own = matches!(path.0.first(), Some(Step::Key(key)) if OWN_KEYS.contains(&key.as_str()));
        if self.kind != DocumentKind::Scenario && !is_own {
            self.run_sets.push((path, value));
            return Ok(());
        }
        if matches!(&path.0[..], [Step::Key(key)] if key == "apiVersion" || key == "kind") {
            self.sources.pop();
            return Err(error(path_text, "can't be set", "it says what the file is; write another file"));
        }
        let result = assign(&mut self.tree, &path, &value, place);
        result.map_err(|(message, hint)| error(path_text, &message, &hint))
    }

    /// Decodes and checks the document. `Err` holds every error found, in the order of the file.
    pub fn decode(&self) -> Result<Spec, Vec<Diagnostic>> {
        match self.kind {
            DocumentKind::Scenario => self.decode_scenario().map(|spec| Spec::Scenario(Box::new(spec))),
            DocumentKind::Experiment => self.decode_experiment().map(|spec| Spec::Experiment(Box::new(spec))),
            DocumentKind::Sweep => self.decode_sweep().map(|spec| Spec::Sweep(Box::new(spec))),
            DocumentKind::MeasuredStudy => self.decode_study().map(|spec| Spec::Study(Box::new(spec))),
        }
    }

    /// Decodes and checks a measured study; an error if the document is none.
    pub fn decode_study(&self) -> Result<StudySpec, Vec<Diagnostic>> {
        self.expect_kind(DocumentKind::MeasuredStudy)?;
        self.decode_as(validate::study)
    }

    /// Decodes and checks a scenario; an error if the document is none.
    pub fn decode_scenario(&self) -> Result<ScenarioSpec, Vec<Diagnostic>> {
        self.expect_kind(DocumentKind::Scenario)?;
        self.decode_as(validate::scenario)
    }

    /// Decodes and checks an experiment and all its runs; an error if the document is none.
    pub fn decode_experiment(&self) -> Result<Experiment, Vec<Diagnostic>> {
        self.expect_kind(DocumentKind::Experiment)?;
        let mut diagnostics = Vec::new();
        let spec: Option<ExperimentSpec> = match self.decode_as(validate::experiment) {
            Ok(spec) => Some(spec),
            Err(errors) => {
                diagnostics = errors;
                None
            }
        };
        let mut runs = Vec::new();
        match self.base() {
            Err(errors) => diagnostics.extend(errors),
            Ok(base) => {
                let items = self.tree.get("runs").map_or(&[][..], Node::items);
                let mut base_is_bad = false;
                for (index, item) in items.iter().enumerate().take(limits::RUNS as usize) {
                    let path = Path::default().key("runs").child(Step::Index(index)).key("set");
                    let settings = item.get("set").map_or(&[][..], Node::entries);
                    match self.run(&base, settings.iter().map(|(key, value)| (key, value)), &path) {
                        Ok((scenario, document)) => {
                            if let Some(run) = spec.as_ref().and_then(|spec| spec.runs.get(index)) {
                                let (name, seeds) = (run.name.clone(), run.seeds.unwrap_or(1));
                                runs.push(ScenarioRun { name, seeds, scenario, document });
                            }
                        }
                        Err(errors) => {
                            diagnostics.extend(errors);
                            base_is_bad |= diagnostics.len() > limits::ERRORS * 4;
                        }
                    }
                    if base_is_bad {
                        break;
                    }
                }
                if items.is_empty()
                    && let Err(errors) = base.decode_scenario()
                {
                    diagnostics.extend(errors);
                }
            }
        }
        match spec {
            Some(spec) if diagnostics.is_empty() => Ok(Experiment { spec, runs }),
            _ => Err(capped(in_order(diagnostics))),
        }
    }

    /// Decodes and checks a sweep and all its points; an error if the document is none.
    pub fn decode_sweep(&self) -> Result<Sweep, Vec<Diagnostic>> {
        self.expect_kind(DocumentKind::Sweep)?;
        let spec: SweepSpec = self.decode_as(validate::sweep)?;
        let base = self.base()?;
        let axes: Vec<(Key, &[Node])> = self
            .tree
            .get("vary")
            .map_or(&[][..], Node::items)
            .iter()
            .zip(&spec.vary)
            .map(|(item, axis)| {
                let place = item.get("path").map_or(item.place, |node| node.place);
                (Key { text: axis.path.clone(), place }, item.get("values").map_or(&[][..], Node::items))
            })
            .collect();
        let points: usize = axes.iter().map(|(_, values)| values.len()).product();
        let mut runs = Vec::new();
        let mut diagnostics = Vec::new();
        for point in 0..points {
            let mut rest = point;
            let mut settings: Vec<(&Key, &Node)> = Vec::new();
            let mut labels = Vec::new();
            for ((key, values), axis) in axes.iter().zip(&spec.vary).rev() {
                let at = rest % values.len();
                let called = axis.names.get(at).cloned().unwrap_or_else(|| values[at].shown());
                labels.push(format!("{}={called}", key.text));
                settings.push((key, &values[at]));
                rest /= values.len();
            }
            settings.reverse();
            labels.reverse();
            let name = labels.join(",");
            match self.run(&base, settings.into_iter(), &Path::default().key("vary")) {
                Ok((scenario, document)) => {
                    runs.push(ScenarioRun { name, seeds: spec.seeds.unwrap_or(1), scenario, document });
                }
                Err(errors) => diagnostics.extend(errors),
            }
            if diagnostics.len() > limits::ERRORS * 4 {
                break;
            }
        }
        if diagnostics.is_empty() { Ok(Sweep { spec, runs }) } else { Err(capped(in_order(diagnostics))) }
    }

    /// An error about the field at `path` (as in `--set`), with its line, for checks that come after decoding. If the
    /// field is not in the file, the place is that of the nearest mapping around it.
    pub fn diagnostic(&self, path: &str, message: impl Into<String>, hint: Option<String>) -> Diagnostic {
        let path = Path::parse(path).unwrap_or_default();
        let problem = Problem { place: Some(self.place(&path)), path, message: message.into(), hint };
        diagnose(&self.sources, problem)
    }

    /// Where the value at a path stands, or else the key of the nearest mapping around it.
    pub(super) fn place(&self, path: &Path) -> Place {
        let mut node = &self.tree;
        let mut place = node.place;
        for step in &path.0 {
            if let Step::Key(key) = step
                && let Some((key, _)) = node.entry(key)
            {
                place = key.place;
            }
            match node.child(step) {
                Some(child) => node = child,
                None => return place,
            }
            if matches!(step, Step::Index(_)) {
                place = node.place;
            }
        }
        node.place
    }

    pub(super) fn tree(&self) -> &Node {
        &self.tree
    }

    fn expect_kind(&self, kind: DocumentKind) -> Result<(), Vec<Diagnostic>> {
        if self.kind == kind {
            return Ok(());
        }
        let message = format!("expected `{kind:?}`, got `{:?}`", self.kind);
        let hint = match self.kind {
            DocumentKind::Scenario => "`podpace run` reads a scenario",
            DocumentKind::Experiment => "`podpace check` reads an experiment",
            DocumentKind::Sweep => "`podpace sweep` reads a sweep",
            DocumentKind::MeasuredStudy => "`podpace check` reads a measured study",
        };
        Err(vec![self.diagnostic("kind", message, Some(hint.to_owned()))])
    }

    /// Decodes the tree and runs the checks over the result. Checks whose field has been reported stay silent.
    fn decode_as<T: serde::de::DeserializeOwned>(
        &self,
        checks: fn(&T, &mut Check<'_>),
    ) -> Result<T, Vec<Diagnostic>> {
        let decoded = decode::decode::<T>(&self.tree);
        let mut diagnostics = self.problems.clone();
        let complete = decoded.problems.is_empty() && self.problems.is_empty();
        diagnostics.extend(decoded.problems.into_iter().map(|problem| diagnose(&self.sources, problem)));
        if let Some(value) = &decoded.value {
            let mut check = Check::new(self, complete);
            checks(value, &mut check);
            for problem in check.into_problems() {
                let around = |path: &Path| path.starts_with(&problem.path) || problem.path.starts_with(path);
                if !decoded.reported.iter().any(around) {
                    diagnostics.push(diagnose(&self.sources, problem));
                }
            }
        }
        match decoded.value {
            Some(value) if diagnostics.is_empty() => Ok(value),
            _ => Err(capped(in_order(diagnostics))),
        }
    }

    /// The scenario that the runs of an experiment or sweep share. Its sources begin with this document's.
    fn base(&self) -> Result<Self, Vec<Diagnostic>> {
        let error = |path: &str, message: &str, hint: &str| {
            vec![self.diagnostic(path, message, Some(hint.to_owned()))]
        };
        let both = "leave one of them out";
        match (self.tree.get("scenario"), self.tree.get("scenarioFile")) {
            (Some(_), Some(_)) => Err(error("scenarioFile", "given besides `scenario`", both)),
            (None, None) => {
                let hint = "add `scenario:` with the fields of a scenario, or `scenarioFile:` with a path";
                Err(error("scenario", "required, but missing", hint))
            }
            (Some(node), None) => {
                if !matches!(node.value, Value::Map(_)) {
                    let message = format!("expected a mapping, got {}", node.kind());
                    return Err(error("scenario", &message, "write the fields of a scenario"));
                }
                let mut tree = node.clone();
                if let Value::Map(entries) = &mut tree.value {
                    let place = self.place(&Path::default().key("scenario"));
                    for (key, text) in [("apiVersion", API_VERSION), ("kind", "Scenario")] {
                        if let Some((key, _)) = entries.iter().find(|(k, _)| k.text == key) {
                            let path = format!("scenario.{}", key.text);
                            return Err(error(
                                &path,
                                "stands at the top of the file already",
                                "leave it out here",
                            ));
                        }
                        entries.push((Key { text: key.to_owned(), place }, Node::text(place, text)));
                    }
                    if !entries.iter().any(|(key, _)| key.text == "name") {
                        let name = self.tree.get("name").map_or_else(String::new, Node::shown);
                        entries.push((Key { text: "name".to_owned(), place }, Node::text(place, &name)));
                    }
                }
                Ok(Self {
                    tree,
                    kind: DocumentKind::Scenario,
                    sources: self.sources.clone(),
                    directory: self.directory.clone(),
                    problems: Vec::new(),
                    run_sets: Vec::new(),
                })
            }
            (None, Some(node)) => {
                let Value::Scalar(file, Class::Text) = &node.value else {
                    return Err(error(
                        "scenarioFile",
                        "expected the path of a file",
                        "such as `scenarioFile: base.yaml`",
                    ));
                };
                let path = self.directory.as_deref().unwrap_or(FilePath::new(".")).join(file);
                if !path.is_file() {
                    let message = format!("no file `{}`", path.display());
                    return Err(error("scenarioFile", &message, "the path is relative to this file"));
                }
                let mut base = Self::load(&path)?;
                base.expect_kind(DocumentKind::Scenario)?;
                shift(&mut base.tree, self.sources.len() as u32);
                base.sources.splice(0..0, self.sources.iter().cloned());
                Ok(base)
            }
        }
    }

    /// One run: the base with fields set, decoded.
    fn run<'a>(
        &self,
        base: &Self,
        settings: impl Iterator<Item = (&'a Key, &'a Node)>,
        where_: &Path,
    ) -> Result<(ScenarioSpec, Self), Vec<Diagnostic>> {
        let mut document = base.clone();
        let mut errors = Vec::new();
        for (key, value) in settings {
            let result = match Path::parse(&key.text) {
                Err(reason) => Err((
                    format!("not a path: {reason}"),
                    "a path looks like cluster.nodes[0].count or workload.deployments[*].replicas".to_owned(),
                )),
                Ok(path) => assign(&mut document.tree, &path, value, key.place),
            };
            if let Err((message, hint)) = result {
                let path = where_.key(&key.text);
                let problem = Problem { place: Some(key.place), path, message, hint: Some(hint) };
                errors.push(diagnose(&self.sources, problem));
            }
        }
        for (path, value) in &self.run_sets {
            if let Err((message, hint)) = assign(&mut document.tree, path, value, value.place) {
                let problem =
                    Problem { place: Some(value.place), path: path.clone(), message, hint: Some(hint) };
                errors.push(diagnose(&self.sources, problem));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok((document.decode_scenario()?, document))
    }
}

/// Keeps the first errors and says how many follow.
fn capped(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let more = diagnostics.len().saturating_sub(limits::ERRORS);
    if more > 0 {
        diagnostics.truncate(limits::ERRORS);
        let file = diagnostics[0].file.clone();
        let message = format!("{more} more errors are not shown");
        diagnostics.push(Diagnostic::of_file(file, message, "correct the errors above first"));
    }
    diagnostics
}

/// Puts `value` at `path`, making missing keys. All or nothing. The error is a sentence and a hint.
fn assign(tree: &mut Node, path: &Path, value: &Node, place: Place) -> Result<(), (String, String)> {
    probe(tree, &path.0, &Path::default())?;
    put(tree, &path.0, value, place);
    Ok(())
}

/// Checks that `put` will find every list entry on the way and no scalar in it.
fn probe(node: &Node, steps: &[Step], done: &Path) -> Result<(), (String, String)> {
    let Some((step, rest)) = steps.split_first() else { return Ok(()) };
    let name = || if done.0.is_empty() { "the document".to_owned() } else { format!("`{done}`") };
    let descend = |child: Option<&Node>, step: Step| match child {
        Some(child) => probe(child, rest, &done.child(step)),
        // What is missing is made, unless a list entry is asked of it.
        None => match rest.iter().find(|step| !matches!(step, Step::Key(_))) {
            None => Ok(()),
            Some(_) => Err((
                format!("`{}` has no entries to set", done.child(step)),
                "a list entry must exist before a field of it is set; set the whole list instead".to_owned(),
            )),
        },
    };
    let keys_of_list = |step: &Step| {
        let first = done.child(Step::Index(0)).child(step.clone());
        let each = done.child(Step::Each).child(step.clone());
        format!("say which entry: `{first}`, or all of them: `{each}`")
    };
    match (step, &node.value) {
        (Step::Key(_), Value::Map(_)) => descend(node.child(step), step.clone()),
        (Step::Key(_), Value::Scalar(_, Class::Null)) => descend(None, step.clone()),
        (Step::Key(_), Value::List(_)) => Err((format!("{} is a list", name()), keys_of_list(step))),
        (Step::Index(index), Value::List(items)) => match items.get(*index) {
            Some(item) => probe(item, rest, &done.child(step.clone())),
            None => {
                let (count, noun) = (items.len(), if items.len() == 1 { "entry" } else { "entries" });
                let hint = match count {
                    0 => "set the whole list instead".to_owned(),
                    _ => format!("the last one is [{}]", count - 1),
                };
                Err((format!("{} has {count} {noun}, there is no [{index}]", name()), hint))
            }
        },
        (Step::Each, Value::List(items)) => {
            if items.is_empty() {
                return Err((format!("{} has no entries", name()), "set the whole list instead".to_owned()));
            }
            let each = |(i, item): (usize, &Node)| probe(item, rest, &done.child(Step::Index(i)));
            items.iter().enumerate().try_for_each(each)
        }
        (Step::Index(_) | Step::Each, _) => {
            Err((format!("{} is {}, not a list", name(), node.kind()), "leave the brackets out".to_owned()))
        }
        (Step::Key(key), _) => Err((
            format!("{} is {}, it has no `{key}`", name(), node.kind()),
            "set the value as a whole".to_owned(),
        )),
    }
}

fn put(node: &mut Node, steps: &[Step], value: &Node, place: Place) {
    let Some((step, rest)) = steps.split_first() else {
        *node = value.clone();
        return;
    };
    match step {
        Step::Key(key) => {
            if node.is_null() {
                *node = Node::map(place);
            }
            if let Value::Map(entries) = &mut node.value {
                let at = entries.iter().position(|(k, _)| k.text == *key).unwrap_or_else(|| {
                    entries.push((Key { text: key.clone(), place }, Node::map(place)));
                    entries.len() - 1
                });
                put(&mut entries[at].1, rest, value, place);
            }
        }
        Step::Index(_) => {
            if let Some(child) = node.child_mut(step) {
                put(child, rest, value, place);
            }
        }
        Step::Each => {
            if let Value::List(items) = &mut node.value {
                items.iter_mut().for_each(|item| put(item, rest, value, place));
            }
        }
    }
}

/// Moves all places of a tree to later sources.
fn shift(node: &mut Node, by: u32) {
    node.place.source += by;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Value::Map(entries) => entries.iter_mut().for_each(|(key, child)| {
            key.place.source += by;
            shift(child, by);
        }),
        Value::Scalar(..) | Value::Reported => {}
    }
}

/// A problem of a tree, with the line it stands on.
pub(super) fn diagnose(sources: &[Source], problem: Problem) -> Diagnostic {
    let source = problem.place.and_then(|place| sources.get(place.source as usize));
    let source = source.unwrap_or(&sources[0]);
    let place = problem.place.filter(|_| !source.is_argument());
    let line = place.map_or(0, |place| place.line as usize);
    let value = problem
        .message
        .rsplit_once(", got `")
        .and_then(|(_, tail)| tail.strip_suffix('`'))
        .map(str::to_owned);
    Diagnostic {
        file: source.name.clone(),
        line,
        column: place.map_or(0, |place| place.column as usize),
        width: place.map_or(0, |place| place.width as usize),
        path: problem.path.to_string(),
        value,
        message: problem.message,
        hint: problem.hint,
        source_line: match line {
            0 => String::new(),
            _ => source.text.lines().nth(line - 1).unwrap_or_default().to_owned(),
        },
    }
}

fn too_large(name: &str) -> Diagnostic {
    let message = format!("larger than {} MiB", limits::FILE_BYTES >> 20);
    Diagnostic::of_file(
        name,
        message,
        "use `count` for equal nodes and pods, and a trace for many different ones",
    )
}

/// Reads a text file, with a message of its own for each way in which that fails.
#[allow(clippy::result_large_err, reason = "called once a file")]
pub(super) fn read_text(path: &FilePath, name: &str) -> Result<String, Diagnostic> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => {
            let hint = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
                    format!("the folder `{}` does not exist either", parent.display())
                }
                _ => similar_file(path).map_or_else(
                    || "check the name and the working directory".to_owned(),
                    |found| format!("did you mean `{found}`?"),
                ),
            };
            Diagnostic::of_file(name, "no such file", hint)
        }
        ErrorKind::PermissionDenied => {
            Diagnostic::of_file(name, "may not be read", "check the file's permissions")
        }
        _ => Diagnostic::of_file(name, format!("can't be read: {error}"), "check the file and the disk"),
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(Diagnostic::of_file(name, "is a folder, not a file", "name one YAML file in it"));
    }
    refuse_special(path).map_err(|error| {
        Diagnostic::of_file(name, error.to_string(), "name a YAML file, or give the text as /dev/stdin")
    })?;
    if metadata.len() > limits::FILE_BYTES {
        return Err(too_large(name));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(limits::FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limits::FILE_BYTES {
        return Err(too_large(name));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let hint = match error.as_bytes() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it looks like UTF-16; save it as UTF-8",
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x1f, 0x8b, ..] => "it looks compressed; unpack it first",
            _ => "save it as UTF-8; a scenario is a YAML text",
        };
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        Diagnostic::of_file(name, format!("not UTF-8: byte {at}, on line {line}"), hint)
    })
}

/// A YAML file beside the missing one with a similar name.
fn similar_file(path: &FilePath) -> Option<String> {
    let wanted = path.file_name()?.to_str()?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(FilePath::new("."));
    let mut names: Vec<String> = fs::read_dir(parent)
        .ok()?
        .take(10_000)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".yaml") || name.ends_with(".yml"))
        .collect();
    names.sort();
    super::diagnostic::nearest(wanted, names.iter().map(String::as_str)).map(str::to_owned)
}
