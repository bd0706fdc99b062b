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
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::decode;
use super::diagnostic::{Diagnostic, in_order};
use super::document::{Source, diagnose, read_text};
use super::tree::{Node, Path, Place, Problem, build_behind};
use super::{kube_scheduler_config, limits};
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
        Self::part(name, &text.into(), text, 0)
    }

    /// Reads a part of a text, which stands behind so many of its lines.
    fn part(name: &str, whole: &Arc<str>, text: &str, before: u32) -> Result<Self, Vec<Diagnostic>> {
        let sources = vec![Source { name: name.to_owned(), text: Arc::clone(whole), assignment: None }];
        let mut problems = Vec::new();
        let built = build_behind(before, text, 0, &mut problems);
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
        let whole: Arc<str> = text.into();
        let (mut documents, mut errors) = (Vec::new(), Vec::new());
        // Where the document begins, on which line, and whether it has no content so far.
        let (mut begin, mut before, mut bare) = (0, 0, true);
        let mut end = |from: usize, to: usize, before: u32, bare: bool| {
            if !bare && errors.len() < limits::ERRORS {
                match Self::part(name, &whole, &text[from..to], before) {
                    Ok(document) => documents.push(document),
                    Err(problems) => errors.extend(problems),
                }
            }
        };
        let (mut at, mut line_nr) = (0, 0);
        for line in text.split_inclusive('\n') {
            let content = line.trim_end_matches(['\n', '\r']);
            let next = at + line.len();
            let rest =
                content.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
            if let Some(rest) = rest.map(str::trim_start) {
                end(begin, at, before, bare);
                (begin, before, bare) = (at + content.len() - rest.len(), line_nr, is_bare(rest));
            } else if content == "..." {
                end(begin, at, before, bare);
                (begin, before, bare) = (next, line_nr + 1, true);
            } else {
                bare &= is_bare(content);
            }
            at = next;
            line_nr += 1;
        }
        end(begin, at, before, bare);
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

/// A line without content.
fn is_bare(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each document has the lines of the whole file, whatever stands between them.
    #[test]
    fn documents_keep_their_lines() {
        let text = "\u{feff}# first\na: 1\r\n---\r\n# nothing\n--- # here neither\n\nb: 2\n...\nc: 3\n--- \n--- {d: 4}\n---";
        let documents = ConfigFile::documents("f", text).unwrap();
        let places = ["a", "b", "c", "d"].map(|key| Path::default().key(key));
        let lines: Vec<u32> = documents.iter().zip(&places).map(|(d, path)| d.place(path).line).collect();
        assert_eq!(lines, [2, 7, 9, 11]);
        let wrong = ConfigFile::documents("f", "a: 1\n---\nb: 1\nb: 2\n---\nc: [\n").unwrap_err();
        let seen: Vec<_> = wrong.iter().map(|d| (d.line, d.source_line.as_str())).collect();
        assert_eq!(seen[0], (4, "b: 2"));
        assert!(seen.len() == 2 && seen[1].0 >= 6, "{seen:?}");
        assert!(wrong[0].hint.as_deref().unwrap().contains("line 3"));
    }

    /// What is read of a file grows with it, not with its square: a million documents without content, and many with some.
    #[test]
    fn many_documents_are_read_in_one_pass() {
        assert!(ConfigFile::documents("f", &"---\n".repeat(1 << 20)).unwrap().is_empty());
        assert_eq!(ConfigFile::documents("f", &"---\na: 1\n".repeat(100_000)).unwrap().len(), 100_000);
        let wrong = ConfigFile::documents("f", &"---\na: [\n".repeat(100_000)).unwrap_err();
        assert!((1..=limits::ERRORS).contains(&wrong.len()), "{}", wrong.len());
    }
}
