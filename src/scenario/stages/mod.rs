//! KWOK's Stage files, read as they are.
//!
//! `controlPlane.nodeLifecycle.stages` names files and folders (their `*.yaml` and `*.yml`). A file holds documents: Stages, Lists of
//! them, and KWOK's own configuration, of which the numbers of workers are read. What a stage says becomes a
//! [`Stage`](crate::control_plane::stages::Stage): keys are read by `jq`, templates are run by `template`, once for each set of annotations, and
//! the status that comes out is read by `outcome`. Everything that has no counterpart is refused by name, with its place.
//!
//! What pods here don't have a stage can't see: one container that has no name, no init containers, no readiness gates.
//! The annotation `podpace.dev/run` is a pod's run time, as `trace export k8s` writes it.
//!
//! Source: kubernetes-sigs/kwok `pkg/apis/v1alpha1/stage_types.go`, `pkg/apis/internalversion/conversion.go`.
//!
//! Left out: CEL, `apply`, JSON patches, finalizers of nodes, impersonation.
//!
//! Cost: O(files + templates x sets of annotations).
mod file;
mod jq;
mod outcome;
mod template;

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};

use super::config_file::ConfigFile;
use super::cron;
use super::diagnostic::{Diagnostic, in_order};
use super::document::read_text;
use super::duration::DurationNs;
use super::limits;
use super::tree::{Path, Step as PathStep};
use crate::control_plane::stages::{
    Delay, Facts, Field, Finalizers, Kind, Operator, Patch, Phase, Requirement, Span, SpanAnswer, SpanFrom,
    Stage, StageSet, Step,
};
use file::{
    DelayFile, ExpressionFile, FinalizerFile, FinalizersFile, Head, MatchFile, PatchFile, SelectorFile,
    SpecFile,
};
use outcome::Outcomes;

/// The annotation that says how long a pod runs.
pub(super) const RUN_ANNOTATION: &str = "podpace.dev/run";
/// `podPlayStageParallelism`, `nodePlayStageParallelism`.
const WORKERS: u32 = 4;
const STAGE_API: &str = "kwok.x-k8s.io/v1alpha1";
const CONFIG_API: &str = "config.kwok.x-k8s.io/v1alpha1";

/// What files of stages come to.
#[derive(Debug, Default)]
pub(super) struct StageFiles {
    /// The stages; its facts are the caller's.
    pub(super) set: StageSet,
    /// What was read but has no effect here.
    pub(super) notes: Vec<String>,
    /// Files as they were named.
    pub(super) files: Vec<String>,
    /// Some stage reads how long a pod is to run.
    pub(super) reads_run: bool,
    /// Some stage reads other annotations of pods, or who owns them.
    pub(super) reads_facts: bool,
    /// Stages may end pods in a way that others have to answer, or change nodes.
    pub(super) disturbs: bool,
}

/// Reads files and folders; `names` are as the scenario has them, `base` is its folder. `facts`: those of pods.
pub(super) fn read(
    names: &[String],
    base: &FilePath,
    facts: &[Facts],
) -> Result<StageFiles, Vec<Diagnostic>> {
    let mut reader = Reader::new(facts);
    for name in names {
        let path = base.join(name);
        if !path.is_dir() {
            reader.file(&path, name);
            continue;
        }
        let mut files: Vec<PathBuf> = std::fs::read_dir(&path)
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default();
        files.retain(|file| file.extension().is_some_and(|ext| ext == "yaml" || ext == "yml"));
        files.sort_unstable();
        if files.is_empty() {
            let hint = "name a folder with *.yaml files, or the files themselves";
            reader.errors.push(Diagnostic::of_file(name, "no YAML file in this folder", hint));
        }
        for file in files {
            let last = file.file_name().unwrap_or_default().to_string_lossy();
            reader.file(&file, &format!("{}/{last}", name.trim_end_matches('/')));
        }
    }
    if reader.outcomes.gives_unknown_reason {
        reader.errors.extend(reader.compares_reasons.take());
    }
    if reader.errors.is_empty() && reader.out.set.pods.is_empty() && reader.out.set.nodes.is_empty() {
        let name = names.first().map_or("", String::as_str);
        reader.errors.push(Diagnostic::of_file(
            name,
            "there is no Stage in it",
            "name files with `kind: Stage`",
        ));
    }
    if !reader.errors.is_empty() {
        return Err(in_order(reader.errors));
    }
    reader.out.set.conditions = reader.outcomes.conditions;
    reader.out.set.reasons = reader.outcomes.reasons;
    Ok(reader.out)
}

struct Reader<'a> {
    facts: &'a [Facts],
    outcomes: Outcomes,
    out: StageFiles,
    names: BTreeSet<(Kind, String)>,
    errors: Vec<Diagnostic>,
    /// Where reasons of containers are compared.
    compares_reasons: Option<Diagnostic>,
}

/// A document of a file, and where in it an object stands.
struct Place<'a> {
    file: &'a ConfigFile,
    at: Path,
    kind: Kind,
}

impl Place<'_> {
    fn path(&self, below: &str) -> Path {
        let mut steps = self.at.0.clone();
        steps.extend(Path::parse(below).unwrap_or_default().0);
        Path(steps)
    }

    fn error(&self, below: &str, message: impl Into<String>, hint: impl Into<String>) -> Diagnostic {
        self.file.diagnostic(&self.path(below), message, hint)
    }
}

impl<'a> Reader<'a> {
    fn new(facts: &'a [Facts]) -> Self {
        let mut out = StageFiles::default();
        (out.set.pod_workers, out.set.node_workers) = (WORKERS, WORKERS);
        let (names, errors) = (BTreeSet::new(), Vec::new());
        Self { facts, outcomes: Outcomes::new(), out, names, errors, compares_reasons: None }
    }

    fn file(&mut self, path: &FilePath, name: &str) {
        let text = match read_text(path, &path.display().to_string()) {
            Ok(text) => text,
            Err(error) => return self.errors.push(error),
        };
        self.out.files.push(name.to_owned());
        match ConfigFile::documents(&path.display().to_string(), &text) {
            Ok(documents) => {
                for document in documents {
                    if self.is_full() {
                        break;
                    }
                    self.document(&document, name);
                }
            }
            Err(errors) => self.errors.extend(errors),
        }
    }

    /// There are errors enough: each costs a walk over its file.
    fn is_full(&self) -> bool {
        self.errors.len() > limits::ERRORS
    }

    fn document(&mut self, file: &ConfigFile, name: &str) {
        let text = |key: &str| file.tree().get(key).map(super::tree::Node::shown).unwrap_or_default();
        let (api, kind) = (text("apiVersion"), text("kind"));
        match (api.as_str(), kind.as_str()) {
            (STAGE_API, "Stage") => self.stage(file, Path::default()),
            ("v1", "List") | (STAGE_API, "StageList") => {
                for at in 0..file.tree().get("items").map_or(0, |items| items.items().len()) {
                    if self.is_full() {
                        break;
                    }
                    let path = Path(vec![PathStep::Key("items".to_owned()), PathStep::Index(at)]);
                    let item = file.tree().nearest(&path).0;
                    let said = |key: &str| item.get(key).map(super::tree::Node::shown);
                    if said("kind").is_none_or(|kind| kind == "Stage")
                        && said("apiVersion").is_none_or(|api| api == STAGE_API)
                    {
                        self.stage(file, path);
                    } else {
                        let message = "only Stages are read from a List here";
                        let error = file.diagnostic(&path.key("kind"), message, "take the others out");
                        self.errors.push(error);
                    }
                }
            }
            (CONFIG_API, "KwokConfiguration") => self.configuration(file, name),
            (CONFIG_API, _) | (_, "Kustomization") => {
                self.out.notes.push(format!("{name}: {kind} is passed over: it says nothing of stages"));
            }
            (_, "Stage") => {
                let message = format!("`{api}` is no API version of Stages");
                let error = file.diagnostic(
                    &Path::default().key("apiVersion"),
                    message,
                    format!("write {STAGE_API}"),
                );
                self.errors.push(error);
            }
            _ => {
                let message = format!("a {kind} of {api} is no Stage");
                let hint = format!(
                    "write `apiVersion: {STAGE_API}` and `kind: Stage`, or name another file; of KWOK's other kinds only \
                     KwokConfiguration is read"
                );
                self.errors.push(file.diagnostic(&Path::default().key("kind"), message, hint));
            }
        }
    }

    /// KWOK's own configuration.
    fn configuration(&mut self, file: &ConfigFile, name: &str) {
        let Some(options) = file.tree().get("options") else { return };
        let mut others = Vec::new();
        for (key, node) in options.entries() {
            let slot = match key.text.as_str() {
                "podPlayStageParallelism" => &mut self.out.set.pod_workers,
                "nodePlayStageParallelism" => &mut self.out.set.node_workers,
                _ => {
                    others.push(key.text.as_str());
                    continue;
                }
            };
            match node.shown().parse::<u32>() {
                // 0 stands for the default.
                Ok(0) => *slot = WORKERS,
                Ok(workers) => *slot = workers,
                Err(_) => {
                    let path = Path::default().key("options").key(&key.text);
                    let error = file.diagnostic(&path, "expected a whole number", "such as 4");
                    self.errors.push(error);
                }
            }
        }
        if !others.is_empty() {
            let note = format!("{name}: options of KWOK without effect here: {}", others.join(", "));
            self.out.notes.push(note);
        }
    }

    fn stage(&mut self, file: &ConfigFile, at: Path) {
        let head: Head = match file.decode(&at) {
            Ok(head) => head,
            Err(errors) => return self.errors.extend(errors),
        };
        let spec = head.spec;
        let group = spec.resource_ref.api_group.as_deref().unwrap_or("v1");
        let kind = match (group, spec.resource_ref.kind.as_str()) {
            ("v1", "Pod") => Kind::Pod,
            ("v1", "Node") => Kind::Node,
            (group, kind) => {
                let place = Place { file, at, kind: Kind::Pod };
                let message = format!("stages of {kind} ({group}) are not modelled");
                self.errors.push(place.error("spec.resourceRef.kind", message, "Pod or Node of v1"));
                return;
            }
        };
        let place = Place { file, at, kind };
        if !self.names.insert((kind, head.metadata.name.clone())) {
            let message = format!("there is a stage `{}` already", head.metadata.name);
            self.errors.push(place.error("metadata.name", message, "give each stage a name of its own"));
        }
        let selector = spec.selector.as_ref().map(|selector| self.selector(&place, selector));
        if selector.is_none() {
            self.out.notes.push(format!("stage {} has no selector: it matches nothing", head.metadata.name));
        }
        let weight = spec.weight.unwrap_or(0);
        if weight < 0 {
            self.errors.push(place.error("spec.weight", "a weight is 0 or more", "take the sign away"));
        }
        let stage = Stage {
            name: head.metadata.name,
            weight: u64::try_from(weight).unwrap_or(0),
            weight_from: spec.weight_from.as_ref().and_then(|from| self.weight_from(&place, from)),
            delay: spec.delay.as_ref().map(|delay| self.delay(&place, delay)),
            steps: self.steps(&place, &spec),
            immediate: spec.immediate_next_stage.unwrap_or(false),
            selector,
        };
        self.out.disturbs |= kind == Kind::Node || disturbs(&stage);
        match kind {
            Kind::Pod => self.out.set.pods.push(stage),
            Kind::Node => self.out.set.nodes.push(stage),
        }
    }

    fn selector(&mut self, place: &Place<'_>, selector: &SelectorFile) -> Vec<Requirement> {
        let mut all = Vec::new();
        for (key, value) in &selector.match_labels {
            let field = Field::Label(key.clone());
            all.push(Requirement { field, operator: Operator::In, values: vec![value.clone()] });
        }
        for (key, value) in &selector.match_annotations {
            let below = format!("spec.selector.matchAnnotations[\"{key}\"]");
            let field = self.annotation(place, key);
            if field == Field::RunTime {
                let hint = "compare it with `operator: Exists`";
                self.errors.push(place.error(&below, "run times are not compared as texts", hint));
            }
            all.push(Requirement { field, operator: Operator::In, values: vec![value.clone()] });
        }
        for (at, one) in selector.match_expressions.iter().enumerate() {
            if self.is_full() {
                break;
            }
            let below = format!("spec.selector.matchExpressions[{at}]");
            all.extend(self.requirement(place, &below, one));
        }
        all
    }

    /// An annotation of an object.
    fn annotation(&mut self, place: &Place<'_>, key: &str) -> Field {
        match place.kind {
            // Nodes have none here.
            Kind::Node => Field::Absent,
            Kind::Pod if key == RUN_ANNOTATION => {
                self.out.reads_run = true;
                Field::RunTime
            }
            Kind::Pod => {
                self.out.reads_facts = true;
                Field::Annotation(key.to_owned())
            }
        }
    }

    fn field(&mut self, place: &Place<'_>, below: &str, key: &str) -> Option<Field> {
        let found = jq::field(key, place.kind, &mut |name| self.outcomes.condition(name));
        match found {
            Some(Field::Annotation(key)) => Some(self.annotation(place, &key)),
            Some(field) => {
                self.out.reads_facts |= field == Field::OwnerKind;
                Some(field)
            }
            None => {
                let keys = if place.kind == Kind::Pod { jq::POD_KEYS } else { jq::NODE_KEYS };
                let message = format!("nothing here is known of the key `{key}`");
                self.errors.push(place.error(below, message, format!("there are: {keys}")));
                None
            }
        }
    }

    fn requirement(&mut self, place: &Place<'_>, below: &str, one: &MatchFile) -> Option<Requirement> {
        if one.cel.is_some() {
            let message = "CEL is not modelled";
            self.errors.push(place.error(&format!("{below}.cel"), message, "write it as a jq key"));
            return None;
        }
        let (inner, key, operator, values) = match &one.jq {
            Some(jq) => (".jq", Some(&jq.key), Some(&jq.operator), &jq.values),
            None => ("", one.key.as_ref(), one.operator.as_ref(), &one.values),
        };
        let below = format!("{below}{inner}");
        let (Some(key), Some(operator)) = (key, operator) else {
            self.errors.push(place.error(&below, "a requirement has a `key` and an `operator`", "add them"));
            return None;
        };
        let operator = match operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => {
                let message = format!("operator `{other}` is not supported");
                let error =
                    place.error(&format!("{below}.operator"), message, "In, NotIn, Exists or DoesNotExist");
                self.errors.push(error);
                return None;
            }
        };
        let compares = matches!(operator, Operator::In | Operator::NotIn);
        if compares == values.is_empty() {
            let message = if compares {
                "for In and NotIn the values can't be empty"
            } else {
                "for Exists and DoesNotExist the values must be empty"
            };
            let hint = if compares { "add `values`" } else { "leave `values` out" };
            self.errors.push(place.error(&format!("{below}.values"), message, hint));
        }
        let field = self.field(place, &format!("{below}.key"), key)?;
        if compares && !jq::has_value(&field) {
            let message = format!("the value of `{key}` is not known here, only whether there is one");
            let hint = "write `operator: Exists` or `DoesNotExist`";
            self.errors.push(place.error(&format!("{below}.key"), message, hint));
        }
        if compares && let Some(hint) = jq::instead_of_list(key) {
            let message = format!(
                "`{key}` yields a list or objects, and In and NotIn compare none: In never matches, NotIn always does"
            );
            self.errors.push(place.error(&format!("{below}.key"), message, hint));
        }
        if compares && matches!(field, Field::Reason(_)) {
            let message = format!(
                "the value of `{key}` is not known here: a template makes it up from what is not known"
            );
            let hint = "write the reason out in each template, or `operator: Exists`";
            self.compares_reasons = Some(place.error(&format!("{below}.key"), message, hint));
        }
        Some(Requirement { field, operator, values: values.clone() })
    }

    /// What an expression for a value reads.
    fn expression(&mut self, place: &Place<'_>, below: &str, from: &ExpressionFile) -> Option<Field> {
        if from.cel.is_some() {
            let message = "CEL is not modelled";
            self.errors.push(place.error(&format!("{below}.cel"), message, "write it as a jq expression"));
            return None;
        }
        let (inner, text) = match (&from.jq, &from.expression_from) {
            (Some(jq), _) => ("jq.expression", &jq.expression),
            (None, Some(text)) => ("expressionFrom", text),
            (None, None) => return None,
        };
        let below = format!("{below}.{inner}");
        let field = self.field(place, &below, text)?;
        if matches!(field, Field::Annotation(_) | Field::RunTime | Field::DeletionTimestamp | Field::Absent) {
            return Some(field);
        }
        let message = format!("`{text}` gives no value here");
        let hint = "read an annotation (.metadata.annotations[\"..\"]) or .metadata.deletionTimestamp";
        self.errors.push(place.error(&below, message, hint));
        None
    }

    fn weight_from(
        &mut self,
        place: &Place<'_>,
        from: &ExpressionFile,
    ) -> Option<Vec<Option<Result<u64, ()>>>> {
        let key = match self.expression(place, "spec.weightFrom", from)? {
            Field::Annotation(key) => key,
            Field::Absent => return None,
            _ => {
                let hint = "read an annotation";
                self.errors.push(place.error("spec.weightFrom", "a time is no weight", hint));
                return None;
            }
        };
        let mut by_facts = Vec::new();
        for facts in self.facts {
            by_facts.push(match facts.annotations.get(&key) {
                None => None,
                Some(text) => match whole_number(text) {
                    Some(weight) if weight < 0 => {
                        let message = format!("annotation `{key}` of pods is {text}: a weight is 0 or more");
                        self.errors.push(place.error("spec.weightFrom", message, "take the sign away"));
                        None
                    }
                    weight => Some(weight.and_then(|w| u64::try_from(w).ok()).ok_or(())),
                },
            });
        }
        Some(by_facts)
    }

    fn delay(&mut self, place: &Place<'_>, delay: &DelayFile) -> Delay {
        let mut span = |key: &str, number: Option<i64>, from: Option<&ExpressionFile>| {
            let below = format!("spec.delay.{key}");
            let ns = number.and_then(|ms| ms.checked_mul(1_000_000));
            if number.is_some_and(|ms| ms < 0) || ns.is_none() && number.is_some() {
                let hint = "milliseconds, 0 or more, at most 292 years";
                let message = "a delay can't be so long or short";
                self.errors.push(place.error(&format!("{below}Milliseconds"), message, hint));
            }
            let from = from.and_then(|from| self.span_from(place, &format!("{below}From"), from));
            Span { number: ns, from }
        };
        let mut duration = span("duration", delay.duration_milliseconds, delay.duration_from.as_ref());
        // Without a number it is 0.
        duration.number = duration.number.or(Some(0));
        let jitter = (delay.jitter_duration_milliseconds.is_some() || delay.jitter_duration_from.is_some())
            .then(|| {
                let from = delay.jitter_duration_from.as_ref();
                span("jitterDuration", delay.jitter_duration_milliseconds, from)
            });
        Delay { duration, jitter }
    }

    fn span_from(&mut self, place: &Place<'_>, below: &str, from: &ExpressionFile) -> Option<SpanFrom> {
        let key = match self.expression(place, below, from)? {
            Field::Annotation(key) => key,
            Field::RunTime => return Some(SpanFrom::RunTime),
            Field::DeletionTimestamp => return Some(SpanFrom::DeletionTimestamp),
            _ => return None,
        };
        let mut by_facts = Vec::new();
        for facts in self.facts {
            by_facts.push(match facts.annotations.get(&key).map(String::as_str) {
                None => SpanAnswer::Default,
                Some("") => SpanAnswer::None,
                Some(text) if cron::start_s(text).is_some() => {
                    let message = format!("annotation `{key}` of pods is a time, {text}");
                    self.errors.push(place.error(below, message, "write a duration, such as 30s"));
                    SpanAnswer::Default
                }
                Some(text) => {
                    let (sign, span) = match text.strip_prefix('-') {
                        Some(rest) => (-1, rest),
                        None => (1, text.strip_prefix('+').unwrap_or(text)),
                    };
                    let ns = span.parse::<DurationNs>().ok().and_then(|span| i64::try_from(span.0).ok());
                    ns.map_or(SpanAnswer::Default, |ns| SpanAnswer::Span(sign * ns))
                }
            });
        }
        Some(SpanFrom::Annotation(by_facts))
    }

    fn steps(&mut self, place: &Place<'_>, spec: &SpecFile) -> Vec<Step> {
        let mut steps = Vec::new();
        if !spec.steps.is_empty() {
            for (at, step) in spec.steps.iter().enumerate() {
                if self.is_full() {
                    break;
                }
                let below = format!("spec.steps[{at}]");
                if step.event.is_some() {
                    steps.push(Step::Event);
                }
                steps.extend(self.finalizers(place, &below, step.finalizers.as_ref()));
                if step.delete == Some(true) {
                    steps.push(Step::Delete);
                } else if let Some(patch) = &step.patch {
                    steps.extend(self.patch(place, &format!("{below}.patch"), patch));
                }
                if step.apply.is_some() {
                    let message = "`apply` is not modelled";
                    self.errors.push(place.error(&format!("{below}.apply"), message, "leave it out"));
                }
            }
            return steps;
        }
        let Some(next) = &spec.next else {
            let hint = "write what comes `next`, or leave the stage out";
            self.errors.push(place.error("spec", "the stage does nothing: it has no `next`", hint));
            return steps;
        };
        if next.event.is_some() {
            steps.push(Step::Event);
        }
        steps.extend(self.finalizers(place, "spec.next", next.finalizers.as_ref()));
        for (at, patch) in next.patches.iter().enumerate() {
            if self.is_full() {
                break;
            }
            steps.extend(self.patch(place, &format!("spec.next.patches[{at}]"), patch));
        }
        if next.status_patch_as.is_some() {
            let message = "impersonation is not modelled";
            self.errors.push(place.error("spec.next.statusPatchAs", message, "leave it out"));
        }
        if let Some(other) = next.status_subresource.as_deref().filter(|name| *name != "status") {
            let message = format!("subresource `{other}` is not modelled");
            self.errors.push(place.error("spec.next.statusSubresource", message, "status"));
        }
        if next.patches.is_empty()
            && let Some(text) = next.status_template.as_deref().filter(|text| !text.is_empty())
        {
            steps.extend(self.template(place, "spec.next.statusTemplate", text, "status"));
        }
        if next.delete == Some(true) {
            steps.push(Step::Delete);
        }
        steps
    }

    fn finalizers(
        &mut self,
        place: &Place<'_>,
        below: &str,
        finalizers: Option<&FinalizersFile>,
    ) -> Option<Step> {
        let finalizers = finalizers?;
        let below = format!("{below}.finalizers");
        if place.kind == Kind::Node {
            // No node has any: nothing is there to be removed.
            if !finalizers.add.is_empty() {
                let message = "finalizers of nodes are not modelled";
                self.errors.push(place.error(&format!("{below}.add"), message, "leave them out"));
            }
            return None;
        }
        let mut bits = |items: &[FinalizerFile]| {
            let mut bits = 0_u64;
            for item in items {
                let known = &mut self.out.set.finalizers;
                let at = known.iter().position(|name| *name == item.value).unwrap_or(known.len());
                if at == known.len() && at < 64 {
                    known.push(item.value.clone());
                }
                match u32::try_from(at).ok().and_then(|at| 1_u64.checked_shl(at)) {
                    Some(bit) => bits |= bit,
                    // There are enough of them.
                    None if self.errors.len() > limits::ERRORS => break,
                    None => self.errors.push(place.error(
                        &below,
                        "too many finalizers",
                        "at most 64 in all stages",
                    )),
                }
            }
            bits
        };
        let (remove, add) = (bits(&finalizers.remove), bits(&finalizers.add));
        Some(Step::Finalizers(Finalizers { empty: finalizers.empty == Some(true), remove, add }))
    }

    fn patch(&mut self, place: &Place<'_>, below: &str, patch: &PatchFile) -> Option<Step> {
        let mut problem = None;
        let kind = patch.kind.as_deref().unwrap_or("strategic");
        if kind != "strategic" {
            problem = Some(("type", format!("patches of type `{kind}` are not modelled"), "strategic"));
        } else if patch.impersonation.is_some() {
            problem = Some(("impersonation", "impersonation is not modelled".to_owned(), "leave it out"));
        } else if patch.subresource.as_deref() != Some("status") {
            let message = "only patches of the status are modelled".to_owned();
            problem = Some(("subresource", message, "write `subresource: status`"));
        }
        if let Some((field, message, hint)) = problem {
            self.errors.push(place.error(&format!("{below}.{field}"), message, hint));
            return None;
        }
        let root = patch.root.as_deref().unwrap_or("");
        if !matches!(root, "" | "status") {
            let message = format!("a patch of `{root}` is not modelled");
            self.errors.push(place.error(&format!("{below}.root"), message, "status"));
            return None;
        }
        let Some(text) = &patch.template else {
            self.errors.push(place.error(below, "the patch has no `template`", "add it"));
            return None;
        };
        self.template(place, &format!("{below}.template"), text, root)
    }

    /// What a template comes to, for each set of annotations.
    fn template(&mut self, place: &Place<'_>, below: &str, text: &str, root: &str) -> Option<Step> {
        let none = [Facts::default()];
        let all = match place.kind {
            Kind::Pod => self.facts,
            Kind::Node => &none[..],
        };
        self.out.reads_facts |=
            place.kind == Kind::Pod && (text.contains(".annotations") || text.contains("ownerReferences"));
        let mut by_facts: Vec<Patch> = Vec::new();
        for facts in all {
            let rendered = template::render(text, &outcome::object(place.kind, facts))
                .map_err(|error| (Some(error.line), error.message, error.hint));
            let patch = rendered.and_then(|(out, has_time)| {
                self.outcomes.reading.clear();
                let status = self.outcomes.status(place.kind, &out, root, has_time);
                status.map_err(|(message, hint)| {
                    let key = format!("{}:", self.outcomes.reading);
                    let line = text.lines().position(|line| line.trim_start().starts_with(&key));
                    (line.filter(|_| key.len() > 1), message, hint)
                })
            });
            match patch {
                Ok(patch) => by_facts.push(patch),
                Err((line, message, hint)) => {
                    let mut error = place.error(below, message, hint);
                    if let Some(line) = line {
                        at_line(&mut error, place, text, line);
                    }
                    self.errors.push(error);
                    return None;
                }
            }
        }
        if by_facts.windows(2).all(|pair| pair[0] == pair[1]) {
            by_facts.truncate(1);
        }
        Some(Step::Patch(by_facts))
    }
}

/// Go's `strconv.ParseInt(text, 0, 0)`.
fn whole_number(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = if let Some(hex) = lower.strip_prefix("0x") {
        (hex, 16)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (binary, 2)
    } else if let Some(octal) =
        lower.strip_prefix("0o").or_else(|| lower.strip_prefix('0').filter(|d| !d.is_empty()))
    {
        (octal, 8)
    } else {
        (lower.as_str(), 10)
    };
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    i64::from_str_radix(digits, radix).ok().map(|number| sign * number)
}

/// Whether a stage ends pods so that others have to answer.
fn disturbs(stage: &Stage) -> bool {
    let fails = |patch: &Patch| patch.phase == Some(Phase::Failed);
    let of_deleted = stage.selector.iter().flatten().any(|requirement| {
        requirement.field == Field::DeletionTimestamp && requirement.operator == Operator::Exists
    });
    stage.steps.iter().any(|step| match step {
        Step::Event => false,
        Step::Finalizers(change) => change.add != 0,
        Step::Delete => !of_deleted,
        Step::Patch(by_facts) => by_facts.iter().any(fails),
    })
}

/// Moves an error to a line of a template that stands in the file as a block.
fn at_line(error: &mut Diagnostic, place: &Place<'_>, text: &str, line: usize) {
    let lines: Vec<&str> = place.file.text().lines().collect();
    let Some(wanted) = text.lines().next().map(str::trim) else { return };
    let from = error.line.saturating_sub(1);
    let begin = (from..lines.len()).take(3).find(|at| lines[*at].trim() == wanted);
    let Some(found) = begin.and_then(|begin| Some((begin + line, lines.get(begin + line)?))) else { return };
    error.line = found.0 + 1;
    error.column = found.1.len() - found.1.trim_start().len() + 1;
    error.width = found.1.trim().chars().count().max(1);
    error.source_line = (*found.1).to_owned();
}
