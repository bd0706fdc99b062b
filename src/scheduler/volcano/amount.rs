//! Resources as Volcano adds and compares them.
//!
//! Source: `pkg/scheduler/api/resource_info.go` of Volcano 1.15.1. There every amount is a float64: CPU in thousandths, memory
//! in bytes, other resources in thousandths, pods in whole ones (a pod requests one of `pods`); two amounts are equal if they
//! differ by less than 0.1. Sums over pods are integers here ([`Amount`]) and turn into floats ([`Levels`]) where a share of
//! the cluster is computed, which is what a queue deserves.
//!
//! Left out: resources that a user tells Volcano to ignore.
//!
//! Cost: O(resources) an operation.
use std::collections::BTreeMap;

use crate::cluster::Resources;

/// The id under which pods are a resource.
pub const PODS: u16 = u16::MAX;
/// Amounts that differ by less are equal.
const MIN_RESOURCE: f64 = 0.1;

/// A sum of what pods request.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Amount {
    /// CPU, millicores.
    pub cpu: u64,
    /// Memory, bytes.
    pub memory: u64,
    /// Extended resources, whole units, and [`PODS`]; no zeros.
    pub others: BTreeMap<u16, u64>,
}

impl Amount {
    /// What one pod requests.
    #[must_use]
    pub fn of(request: &Resources) -> Self {
        Self::of_many(request, 1)
    }

    /// What so many pods request.
    #[must_use]
    pub fn of_many(request: &Resources, pods: u64) -> Self {
        let mut amount = Self {
            cpu: request.cpu_millicores.saturating_mul(pods),
            memory: request.memory_bytes.saturating_mul(pods),
            others: request.extended.iter().map(|(id, v)| (*id, v.saturating_mul(pods))).collect(),
        };
        if pods > 0 {
            amount.others.insert(PODS, pods);
        }
        amount.others.retain(|_, v| *v > 0);
        amount
    }

    /// What a node can hold.
    #[must_use]
    pub fn of_node(allocatable: &Resources) -> Self {
        let mut amount = Self {
            cpu: allocatable.cpu_millicores,
            memory: allocatable.memory_bytes,
            others: allocatable.extended.iter().copied().collect(),
        };
        amount.others.insert(PODS, u64::from(allocatable.pods));
        amount.others.retain(|_, v| *v > 0);
        amount
    }

    /// Adds.
    pub fn add(&mut self, other: &Self) {
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.memory = self.memory.saturating_add(other.memory);
        for (id, v) in &other.others {
            let sum = self.others.entry(*id).or_default();
            *sum = sum.saturating_add(*v);
        }
    }

    /// Takes away what was added before.
    pub fn sub(&mut self, other: &Self) {
        self.cpu -= other.cpu;
        self.memory -= other.memory;
        for (id, v) in &other.others {
            let entry = self.others.entry(*id).or_default();
            *entry -= v;
            if *entry == 0 {
                self.others.remove(id);
            }
        }
    }

    /// What this has more than another, resource by resource.
    #[must_use]
    pub fn exceeding(&self, other: &Self) -> Self {
        let mut more = Self {
            cpu: self.cpu.saturating_sub(other.cpu),
            memory: self.memory.saturating_sub(other.memory),
            others: self.others.clone(),
        };
        for (id, v) in &mut more.others {
            *v = v.saturating_sub(other.others.get(id).copied().unwrap_or(0));
        }
        more.others.retain(|_, v| *v > 0);
        more
    }

    /// Requests nothing but a place (`BestEffort`).
    #[must_use]
    pub fn is_best_effort(request: &Resources) -> bool {
        request.cpu_millicores == 0
            && request.memory_bytes == 0
            && request.extended.iter().all(|(_, v)| *v == 0)
    }

    /// The largest of the shares of a total over the total's resources.
    #[must_use]
    pub fn dominant_share(&self, total: &Self) -> f64 {
        let mut most = 0.0_f64;
        let mut look = |part: u64, whole: u64| {
            if whole > 0 {
                most = most.max(part as f64 / whole as f64);
            }
        };
        look(self.cpu, total.cpu);
        look(self.memory, total.memory);
        for (id, whole) in &total.others {
            look(self.others.get(id).copied().unwrap_or(0), *whole);
        }
        most
    }

    /// As floats.
    #[must_use]
    pub fn levels(&self) -> Levels {
        let others = self.others.iter().map(|(id, v)| (*id, scaled(*id, *v))).collect();
        Levels { cpu: self.cpu as f64, memory: self.memory as f64, others }
    }
}

/// Extended resources count in thousandths, pods in whole ones.
pub(super) fn scaled(id: u16, value: u64) -> f64 {
    if id == PODS { value as f64 } else { value as f64 * 1000.0 }
}

/// An amount as floats; a resource that is not there is not the same as none of it where a comparison says so.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Levels {
    /// CPU, thousandths.
    pub cpu: f64,
    /// Memory, bytes.
    pub memory: f64,
    /// Others, thousandths; [`PODS`] whole.
    pub others: BTreeMap<u16, f64>,
}

impl Levels {
    fn at_most(left: f64, right: f64) -> bool {
        left < right || (left - right).abs() < MIN_RESOURCE
    }

    fn other(&self, id: u16) -> f64 {
        self.others.get(&id).copied().unwrap_or(0.0)
    }

    /// `LessEqual(_, Zero)`: no resource is above the other's, where missing ones are none.
    #[must_use]
    pub fn less_equal(&self, other: &Self) -> bool {
        Self::at_most(self.cpu, other.cpu)
            && Self::at_most(self.memory, other.memory)
            && self.others.iter().all(|(id, v)| Self::at_most(*v, other.other(*id)))
    }

    /// `LessEqualWithDimensionAndResourcesName`: of the resources that are requested (pods don't count), none is above.
    #[must_use]
    pub fn less_equal_where_requested(&self, other: &Self, request: &Self) -> bool {
        (request.cpu <= 0.0 || self.cpu <= other.cpu)
            && (request.memory <= 0.0 || self.memory <= other.memory)
            && request
                .others
                .iter()
                .all(|(id, v)| *id == PODS || *v <= 0.0 || self.other(*id) <= other.other(*id))
    }

    /// Adds.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.cpu += other.cpu;
        self.memory += other.memory;
        for (id, v) in &other.others {
            *self.others.entry(*id).or_default() += v;
        }
        self
    }

    /// Takes away, below zero if need be.
    #[must_use]
    pub fn minus(mut self, other: &Self) -> Self {
        self.cpu -= other.cpu;
        self.memory -= other.memory;
        for (id, v) in &other.others {
            *self.others.entry(*id).or_default() -= v;
        }
        self
    }

    /// Times a factor.
    #[must_use]
    pub fn times(mut self, factor: f64) -> Self {
        self.cpu *= factor;
        self.memory *= factor;
        for v in self.others.values_mut() {
            *v *= factor;
        }
        self
    }

    /// What this has more than another, and what less (`Diff(_, Zero)`).
    #[must_use]
    pub fn differences(&self, other: &Self) -> (Self, Self) {
        let above = |l: f64, r: f64| if l > r { l - r } else { 0.0 };
        let of = |left: &Self, right: &Self| Self {
            cpu: above(left.cpu, right.cpu),
            memory: above(left.memory, right.memory),
            others: left
                .others
                .keys()
                .chain(right.others.keys())
                .map(|id| (*id, above(left.other(*id), right.other(*id))))
                .collect(),
        };
        (of(self, other), of(other, self))
    }

    /// `MinDimensionResource`: no more than a limit; of resources that it does not name, none at all or any amount.
    pub fn limit(&mut self, limit: &Self, unnamed_is_free: bool) {
        self.cpu = self.cpu.min(limit.cpu);
        self.memory = self.memory.min(limit.memory);
        for (id, v) in &mut self.others {
            match limit.others.get(id) {
                Some(most) => *v = v.min(*most),
                None if unnamed_is_free => {}
                None => *v = 0.0,
            }
        }
    }

    /// The larger of both, resource by resource.
    pub fn raise(&mut self, least: &Self) {
        self.cpu = self.cpu.max(least.cpu);
        self.memory = self.memory.max(least.memory);
        for (id, v) in &least.others {
            let mine = self.others.entry(*id).or_default();
            *mine = mine.max(*v);
        }
    }

    /// `IsEmpty`: less than 0.1 of everything but pods.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cpu < MIN_RESOURCE
            && self.memory < MIN_RESOURCE
            && self.others.iter().all(|(id, v)| *id == PODS || *v < MIN_RESOURCE)
    }

    /// The same amounts, where missing ones are none.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.cpu.total_cmp(&other.cpu).is_eq()
            && self.memory.total_cmp(&other.memory).is_eq()
            && self
                .others
                .keys()
                .chain(other.others.keys())
                .all(|id| self.other(*id).total_cmp(&other.other(*id)).is_eq())
    }

    /// The largest share of another's resources that is allocated (`updateQueueAttrShare`).
    #[must_use]
    pub fn share_of(&self, allocated: &Self) -> f64 {
        let mut most = 0.0_f64;
        let mut look = |part: f64, whole: f64| {
            if whole >= MIN_RESOURCE {
                most = most.max(part / whole);
            }
        };
        look(allocated.cpu, self.cpu);
        look(allocated.memory, self.memory);
        for (id, whole) in &self.others {
            look(allocated.other(*id), *whole);
        }
        most
    }
}
