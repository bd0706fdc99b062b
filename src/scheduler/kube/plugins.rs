//! Which plugins of the default profile are on.
//!
//! Source: `pkg/scheduler/apis/config/v1/default_plugins.go`. Names are the plugins' own.
//!
//! Left out: plugins without work here (volumes, ports, images, dynamic resources, gates) and preemption.

/// The plugins modelled; each switch covers all of a plugin's extension points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Plugins {
    /// NodeUnschedulable.
    pub unschedulable: bool,
    /// NodeName.
    pub name: bool,
    /// TaintToleration.
    pub taints: bool,
    /// NodeAffinity.
    pub affinity: bool,
    /// NodeResourcesFit.
    pub fit: bool,
    /// NodeResourcesBalancedAllocation.
    pub balanced: bool,
    /// PodTopologySpread.
    pub spread: bool,
    /// InterPodAffinity.
    pub pod_affinity: bool,
    /// ImageLocality, which gives 0 to every node.
    pub images: bool,
}

impl Plugins {
    /// All of them.
    pub const ALL: Self = Self {
        unschedulable: true,
        name: true,
        taints: true,
        affinity: true,
        fit: true,
        balanced: true,
        spread: true,
        pod_affinity: true,
        images: true,
    };

    /// All but the disabled ones; `*` disables all.
    #[must_use]
    pub fn without(disabled: &[String]) -> Self {
        let on = |name: &str| !disabled.iter().any(|d| d == name || d == "*");
        Self {
            unschedulable: on("NodeUnschedulable"),
            name: on("NodeName"),
            taints: on("TaintToleration"),
            affinity: on("NodeAffinity"),
            fit: on("NodeResourcesFit"),
            balanced: on("NodeResourcesBalancedAllocation"),
            spread: on("PodTopologySpread"),
            pod_affinity: on("InterPodAffinity"),
            images: on("ImageLocality"),
        }
    }

    /// Whether any plugin scores: without one, or without a filter, the first feasible node is taken.
    #[must_use]
    pub const fn scores(&self) -> bool {
        self.taints
            || self.affinity
            || self.fit
            || self.balanced
            || self.spread
            || self.pod_affinity
            || self.images
    }

    /// Whether any plugin filters.
    #[must_use]
    pub const fn filters(&self) -> bool {
        self.unschedulable
            || self.name
            || self.taints
            || self.affinity
            || self.fit
            || self.spread
            || self.pod_affinity
    }
}
