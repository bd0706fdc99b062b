//! Label selectors, node affinity terms, taints and tolerations, as Kubernetes matches them.
//!
//! Sources: the API reference for `LabelSelector`, `NodeSelectorTerm`, `PodAffinityTerm` and `Toleration`.
use std::collections::{BTreeMap, BTreeSet};

use super::{Cluster, HOSTNAME_LABEL, PodSpec};

/// Effect of a taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum TaintEffect {
    /// Pods that don't tolerate it are not scheduled there.
    NoSchedule,
    /// The scheduler avoids the node if it can.
    PreferNoSchedule,
    /// As `NoSchedule`; running pods are evicted too.
    NoExecute,
}

/// A taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value, empty if none.
    pub value: String,
    /// Effect.
    pub effect: TaintEffect,
}

/// A toleration of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Toleration {
    /// Key; empty with `exists` tolerates every key.
    pub key: String,
    /// `Exists` (true) or `Equal` (false).
    pub exists: bool,
    /// Value for `Equal`.
    pub value: String,
    /// Effect; none tolerates every effect.
    pub effect: Option<TaintEffect>,
    /// `tolerationSeconds`: how long a running pod stays on a node with a matching `NoExecute` taint; none: for good.
    pub seconds: Option<u64>,
}

impl Toleration {
    /// Whether it covers a taint.
    #[must_use]
    pub fn covers(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|e| e == taint.effect)
            && (self.key.is_empty() && self.exists || self.key == taint.key)
            && (self.exists || self.value == taint.value)
    }
}

/// Whether one of the tolerations covers the taint.
#[must_use]
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|t| t.covers(taint))
}

/// Operator of a match expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Operator {
    /// The label's value is one of the values.
    In,
    /// The label is absent or its value is none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The label is an integer greater than the single value (nodes only).
    Gt,
    /// The label is an integer less than the single value (nodes only).
    Lt,
}

/// A match expression.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Expression {
    /// Label key.
    pub key: String,
    /// Operator.
    pub operator: Operator,
    /// Values.
    pub values: Vec<String>,
}

/// A node selector term: all expressions and all fields must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Term {
    /// `matchExpressions`, about labels; a term with neither these nor fields matches nothing.
    pub expressions: Vec<Expression>,
    /// `matchFields`, about the node's name ([`NAME_FIELD`](super::NAME_FIELD)).
    pub fields: Vec<Expression>,
}

/// Whether an expression matches the value of its label (none if the label is absent).
#[must_use]
pub fn expression_matches(expression: &Expression, label: Option<&str>) -> bool {
    let integer = |text: &str| text.parse::<i64>().ok();
    match expression.operator {
        Operator::In => label.is_some_and(|l| expression.values.iter().any(|v| v == l)),
        Operator::NotIn => label.is_none_or(|l| expression.values.iter().all(|v| v != l)),
        Operator::Exists => label.is_some(),
        Operator::DoesNotExist => label.is_none(),
        Operator::Gt | Operator::Lt => {
            let (Some(have), Some(want)) =
                (label.and_then(integer), expression.values.first().and_then(|v| integer(v)))
            else {
                return false;
            };
            if expression.operator == Operator::Gt { have > want } else { have < want }
        }
    }
}

/// Whether a node selector term matches; `label` looks a label up.
pub fn term_matches<'a>(term: &Term, label: impl Fn(&str) -> Option<&'a str>) -> bool {
    // The host name is the node's name here.
    let name = || label(HOSTNAME_LABEL);
    !(term.expressions.is_empty() && term.fields.is_empty())
        && term.expressions.iter().all(|e| expression_matches(e, label(&e.key)))
        && term.fields.iter().all(|e| expression_matches(e, name()))
}

/// A label selector over pods or namespaces: all labels and all expressions must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct LabelSelector {
    /// `matchLabels`.
    pub labels: BTreeMap<String, String>,
    /// `matchExpressions`; `Gt` and `Lt` are for nodes only.
    pub expressions: Vec<Expression>,
    /// There is no selector at all (`null`): it matches nothing, while one without conditions matches everything.
    pub is_null: bool,
}

impl LabelSelector {
    /// The selector that matches nothing.
    #[must_use]
    pub fn null() -> Self {
        Self { is_null: true, ..Self::default() }
    }

    /// Whether it has no condition: it matches everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.is_null && self.labels.is_empty() && self.expressions.is_empty()
    }

    /// Whether labels match.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.is_null
            && self.labels.iter().all(|(k, v)| labels.get(k) == Some(v))
            && self.expressions.iter().all(|e| expression_matches(e, labels.get(&e.key).map(String::as_str)))
    }

    /// The selector with the conditions of another one added.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (key, value) in &other.labels {
            // Two values for one label: the second stays as an expression, and nothing has both.
            if self.labels.get(key).is_some_and(|own| own != value) {
                self.expressions.push(Expression {
                    key: key.clone(),
                    operator: Operator::In,
                    values: vec![value.clone()],
                });
            } else {
                self.labels.insert(key.clone(), value.clone());
            }
        }
        self.expressions.extend(other.expressions.iter().cloned());
        self.is_null |= other.is_null;
        self
    }
}

impl From<BTreeMap<String, String>> for LabelSelector {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self { labels, ..Self::default() }
    }
}

/// Namespaces in which a term looks for pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Namespaces {
    /// By name.
    pub names: BTreeSet<String>,
    /// And those whose labels match.
    pub selector: Option<LabelSelector>,
}

impl Namespaces {
    /// One namespace.
    #[must_use]
    pub fn one(name: &str) -> Self {
        Self { names: [name.to_owned()].into(), selector: None }
    }

    /// Whether a namespace with such labels is among them.
    #[must_use]
    pub fn contain(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.names.contains(name) || self.selector.as_ref().is_some_and(|s| s.matches(labels))
    }
}

/// Pods by their labels and namespaces: what affinity terms, spread constraints and disruption budgets speak of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct PodSelector {
    /// Labels of the pods.
    pub labels: LabelSelector,
    /// Where they are.
    pub namespaces: Namespaces,
}

impl PodSelector {
    /// Pods of one namespace.
    #[must_use]
    pub fn within(namespace: &str, labels: LabelSelector) -> Self {
        Self { labels, namespaces: Namespaces::one(namespace) }
    }

    /// Whether pods of a spec are meant.
    #[must_use]
    pub fn matches(&self, cluster: &Cluster, spec: &PodSpec) -> bool {
        self.labels.matches(&spec.labels)
            && (self.namespaces.names.contains(spec.namespace())
                || self
                    .namespaces
                    .selector
                    .as_ref()
                    .is_some_and(|s| s.is_empty() || s.matches(&cluster.namespace_labels(spec.namespace()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: TaintEffect) -> Taint {
        Taint { key: key.into(), value: value.into(), effect }
    }

    fn toleration(key: &str, exists: bool, value: &str, effect: Option<TaintEffect>) -> Toleration {
        Toleration { key: key.into(), exists, value: value.into(), effect, seconds: None }
    }

    /// The examples of the Kubernetes page "Taints and Tolerations".
    #[test]
    fn tolerations_of_the_documentation() {
        let node = taint("key1", "value1", TaintEffect::NoSchedule);
        let equal = toleration("key1", false, "value1", Some(TaintEffect::NoSchedule));
        let exists = toleration("key1", true, "", Some(TaintEffect::NoSchedule));
        assert!(tolerates(&[equal], &node));
        assert!(tolerates(&[exists], &node));
        assert!(tolerates(&[toleration("", true, "", None)], &node));
        assert!(!tolerates(&[toleration("key1", false, "value2", None)], &node));
        assert!(!tolerates(&[toleration("key1", true, "", Some(TaintEffect::NoExecute))], &node));
        assert!(!tolerates(&[], &node));
    }

    #[test]
    fn operators() {
        let e = |operator, values: &[&str]| Expression {
            key: "k".into(),
            operator,
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        };
        assert!(expression_matches(&e(Operator::In, &["a", "b"]), Some("b")));
        assert!(!expression_matches(&e(Operator::In, &["a"]), None));
        assert!(expression_matches(&e(Operator::NotIn, &["a"]), None));
        assert!(expression_matches(&e(Operator::Gt, &["5"]), Some("6")));
        assert!(!expression_matches(&e(Operator::Gt, &["5"]), Some("x")));
        assert!(expression_matches(&e(Operator::Lt, &["5"]), Some("-1")));
        assert!(!term_matches(&Term::default(), |_| None));
    }
}
