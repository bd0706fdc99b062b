//! Stages as they stand in a file.
//!
//! Fields are those of `StageSpec` (kubernetes-sigs/kwok `pkg/apis/v1alpha1/stage_types.go`); others are errors. What is not modelled is
//! taken here, so that it can be refused with its place.
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// A Stage.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Head {
    #[serde(rename = "apiVersion")]
    pub(super) _api_version: String,
    #[serde(rename = "kind")]
    pub(super) _kind: String,
    pub(super) metadata: MetaFile,
    pub(super) spec: SpecFile,
    #[serde(rename = "status")]
    pub(super) _status: Option<IgnoredAny>,
}

/// `metadata`; a real one has more, which says nothing here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MetaFile {
    pub(super) name: String,
}

/// `spec`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SpecFile {
    pub(super) resource_ref: ResourceRefFile,
    pub(super) selector: Option<SelectorFile>,
    pub(super) weight: Option<i64>,
    pub(super) weight_from: Option<ExpressionFile>,
    pub(super) delay: Option<DelayFile>,
    pub(super) next: Option<NextFile>,
    pub(super) immediate_next_stage: Option<bool>,
    #[serde(default)]
    pub(super) steps: Vec<StepFile>,
}

/// `resourceRef`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ResourceRefFile {
    pub(super) api_group: Option<String>,
    pub(super) kind: String,
}

/// `selector`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SelectorFile {
    #[serde(default)]
    pub(super) match_labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) match_annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) match_expressions: Vec<MatchFile>,
}

/// One of `matchExpressions`, in the old form or the new.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MatchFile {
    pub(super) key: Option<String>,
    pub(super) operator: Option<String>,
    #[serde(default)]
    pub(super) values: Vec<String>,
    pub(super) jq: Option<JqFile>,
    pub(super) cel: Option<IgnoredAny>,
}

/// `jq` of a requirement.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct JqFile {
    pub(super) key: String,
    pub(super) operator: String,
    #[serde(default)]
    pub(super) values: Vec<String>,
}

/// `weightFrom`, `durationFrom`, `jitterDurationFrom`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ExpressionFile {
    pub(super) expression_from: Option<String>,
    pub(super) jq: Option<JqExpressionFile>,
    pub(super) cel: Option<IgnoredAny>,
}

/// `jq` of a value.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct JqExpressionFile {
    pub(super) expression: String,
}

/// `delay`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DelayFile {
    pub(super) duration_milliseconds: Option<i64>,
    pub(super) duration_from: Option<ExpressionFile>,
    pub(super) jitter_duration_milliseconds: Option<i64>,
    pub(super) jitter_duration_from: Option<ExpressionFile>,
}

/// `next`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NextFile {
    pub(super) event: Option<EventFile>,
    pub(super) finalizers: Option<FinalizersFile>,
    pub(super) delete: Option<bool>,
    #[serde(default)]
    pub(super) patches: Vec<PatchFile>,
    pub(super) status_template: Option<String>,
    pub(super) status_subresource: Option<String>,
    pub(super) status_patch_as: Option<IgnoredAny>,
}

/// One of `steps`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StepFile {
    pub(super) patch: Option<PatchFile>,
    pub(super) event: Option<EventFile>,
    pub(super) finalizers: Option<FinalizersFile>,
    pub(super) delete: Option<bool>,
    pub(super) apply: Option<IgnoredAny>,
}

/// `event`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EventFile {
    #[serde(rename = "type")]
    pub(super) _type: Option<String>,
    #[serde(rename = "reason")]
    pub(super) _reason: Option<String>,
    #[serde(rename = "message")]
    pub(super) _message: Option<String>,
}

/// `finalizers`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FinalizersFile {
    #[serde(default)]
    pub(super) add: Vec<FinalizerFile>,
    #[serde(default)]
    pub(super) remove: Vec<FinalizerFile>,
    pub(super) empty: Option<bool>,
}

/// One of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FinalizerFile {
    pub(super) value: String,
}

/// `patch`, or one of `patches`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PatchFile {
    pub(super) subresource: Option<String>,
    pub(super) root: Option<String>,
    pub(super) template: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) impersonation: Option<IgnoredAny>,
}
