//! `scheduler.config`: a scheduler's own configuration file, read as it is.
//!
//! The file goes through the same strict reader as a scenario: every value has a place, duplicate keys are errors, and
//! all errors are told at once. What the keys mean is the matter of one module a scheduler, which gets a [`ConfigFile`]
//! and fills in a [`SchedulerConfig`]: `kube_scheduler_config`, `yunikorn_config`, `volcano_config`.
//!
//! Precedence: the file stands for the real defaults; a field that the scenario itself gives (or `--set`) wins over the
//! file, so that a sweep can vary what the file says. Results list the file with its hash.
//!
//! Cost: O(values of the file).
use std::path::Path as FilePath;

use serde::de::DeserializeOwned;

use super::decode;
use super::diagnostic::{Diagnostic, in_order};
use super::document::{Source, diagnose, read_text};
use super::kube_scheduler_config;
use super::tree::{Node, Path, Place, Problem, build};
use super::{volcano_config, yunikorn_config};
use crate::cluster::ResourceNames;
use crate::scheduler::Settings;

/// What decoding says where it knows nothing better; it speaks of scenarios.
const SCHEMA_HINT: &str = "`podpace schema` describes every field";

/// What a scheduler's configuration file says; fields that it leaves out have the real system's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SchedulerConfig {
    /// Settings of the model.
    pub(super) settings: Settings,
    /// The client's queries per second, in thousandths.
    pub(super) qps_milli: Option<u64>,
    /// The client's burst.
    pub(super) burst: Option<u32>,
    /// What was read but has no effect here, and why.
    pub(super) notes: Vec<String>,
}

/// Reads the file of a scheduler of `kind`. `name` stands in messages; resources that the file names join `names`.
pub(super) fn read(
    kind: &str,
    path: &FilePath,
    name: &str,
    names: &mut ResourceNames,
) -> Result<SchedulerConfig, Vec<Diagnostic>> {
    let file = ConfigFile::read(path, name)?;
    match kind {
        "kube-scheduler" => kube_scheduler_config::read(&file),
        "yunikorn" => yunikorn_config::read(&file, names),
        "volcano" => volcano_config::read(&file, names),
        _ => {
            let message = format!("the configuration file of `{kind}` is not supported yet");
            Err(vec![Diagnostic::of_file(name, message, "write the settings in the scenario itself")])
        }
    }
}

/// A configuration file as a tree that knows where each value stands.
#[derive(Debug)]
pub(super) struct ConfigFile {
    sources: Vec<Source>,
    tree: Node,
}

impl ConfigFile {
    /// Reads a file.
    pub(super) fn read(path: &FilePath, name: &str) -> Result<Self, Vec<Diagnostic>> {
        let text = read_text(path, name).map_err(|error| vec![error])?;
        Self::parse(name, &text)
    }

    /// Reads a text.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let sources = vec![Source { name: name.to_owned(), text: text.into(), assignment: None }];
        let mut problems = Vec::new();
        let built = build(text, 0, &mut problems);
        let mut diagnostics: Vec<Diagnostic> = problems.into_iter().map(|p| diagnose(&sources, p)).collect();
        match built {
            Ok(Some(tree)) if diagnostics.is_empty() => return Ok(Self { sources, tree }),
            Ok(Some(_)) => {}
            Ok(None) => diagnostics.push(Diagnostic::of_file(
                name,
                "the file is empty",
                "name a configuration file, or leave `scheduler.config` out",
            )),
            Err(problem) => diagnostics.push(diagnose(&sources, problem)),
        }
        Err(in_order(diagnostics))
    }

    /// Reads a text that holds several documents, each of which keeps its lines; those without content are passed over.
    pub(super) fn documents(name: &str, text: &str) -> Result<Vec<Self>, Vec<Diagnostic>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut texts = vec![String::new()];
        for line in text.lines() {
            let begins = line == "---" || line.starts_with("--- ") || line.starts_with("---\t");
            let blank = line == "...";
            let padding = texts.last().map_or(0, |text| text.lines().count());
            if begins {
                texts.push("\n".repeat(padding));
            }
            if let Some(last) = texts.last_mut() {
                last.push_str(if begins {
                    line[3..].trim_start()
                } else if blank {
                    ""
                } else {
                    line
                });
                last.push('\n');
            }
        }
        let (mut documents, mut errors) = (Vec::new(), Vec::new());
        for document in texts {
            let bare = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
            if document.lines().all(bare) {
                continue;
            }
            match Self::parse(name, &document) {
                Ok(document) => documents.push(document),
                Err(problems) => errors.extend(problems),
            }
        }
        if errors.is_empty() { Ok(documents) } else { Err(in_order(errors)) }
    }

    /// The whole text.
    pub(super) fn text(&self) -> &str {
        &self.sources[0].text
    }

    /// A file inside of this one: the text at `path`, such as a key of a ConfigMap. Its places are those of this file if
    /// the text stands there as a block (`|`), else those of the text.
    pub(super) fn within(&self, path: &Path, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let name = &self.sources[0].name;
        let outer: Vec<&str> = self.sources[0].text.lines().collect();
        let inner: Vec<&str> = text.lines().collect();
        let from = (self.place(path).line as usize).saturating_sub(1);
        let blank = |line: &&str| line.trim().is_empty();
        let first = inner.iter().position(|line| !blank(line)).unwrap_or(0);
        let begin = (from..outer.len()).take(2).find(|at| {
            inner.iter().skip(first).zip(&outer[*at..]).all(|(a, b)| a.trim() == b.trim())
                && at + inner.len() - first <= outer.len()
        });
        match begin {
            None => Self::parse(&format!("{name} ({path})"), text),
            Some(begin) => {
                let mut padded = "\n".repeat(begin);
                for line in &outer[begin..begin + inner.len() - first] {
                    padded.push_str(line);
                    padded.push('\n');
                }
                Self::parse(name, &padded)
            }
        }
    }

    /// The whole tree.
    pub(super) fn tree(&self) -> &Node {
        &self.tree
    }

    /// Decodes the value at `path` (the root if empty) and collects every error.
    pub(super) fn decode<T: DeserializeOwned>(&self, path: &Path) -> Result<T, Vec<Diagnostic>> {
        let (node, found) = self.tree.nearest(path);
        if !found {
            return Err(vec![self.diagnostic(path, "required, but missing", "add it")]);
        }
        let decoded = decode::decode::<T>(node);
        match decoded.value {
            Some(value) if decoded.problems.is_empty() => Ok(value),
            _ => Err(decoded
                .problems
                .into_iter()
                .map(|mut problem| {
                    let mut steps = path.0.clone();
                    steps.append(&mut problem.path.0);
                    problem.path = Path(steps);
                    problem.hint = problem.hint.filter(|hint| hint != SCHEMA_HINT);
                    diagnose(&self.sources, problem)
                })
                .collect()),
        }
    }

    /// An error at a path.
    pub(super) fn diagnostic(
        &self,
        path: &Path,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Diagnostic {
        let place = Some(self.place(path));
        diagnose(
            &self.sources,
            Problem { place, path: path.clone(), message: message.into(), hint: Some(hint.into()) },
        )
    }

    /// Where the value at a path stands, or the nearest one on the way to it.
    pub(super) fn place(&self, path: &Path) -> Place {
        self.tree.nearest(path).0.place
    }
}
