//! The default priority levels, flow schemas and request widths of API priority and fairness.
//!
//! Models the objects every kube-apiserver creates at start (eight priority levels, eleven flow schemas), the rule
//! by which a request finds its flow schema and flow, how the server's total seats become the nominal, minimum and
//! maximum limit of a level, and how many seats a request is estimated to need. Kubernetes 1.36; source:
//! `k8s.io/apiserver`, `pkg/apis/flowcontrol/bootstrap/default.go`, `pkg/util/flowcontrol/apf_controller.go` and
//! `pkg/util/flowcontrol/request`.
//!
//! Left out: changing these objects while the server runs, the `probes` schema (nothing here probes), and
//! non-resource requests. The mapping from an identity to a schema is written out as code, since each identity
//! meets only two or three of the schemas.
//!
//! Cost: O(1), once per flow or per server, never per request, but for [`Width`], which is a few divisions.

/// Seats of a server with default flags: `--max-requests-inflight` 400 + `--max-mutating-requests-inflight` 200.
pub const DEFAULT_TOTAL_SEATS: u32 = 600;

/// Which of the levels in [`LEVELS`] a schema leads to.
pub(super) mod level {
    pub(crate) const EXEMPT: usize = 0;
    pub(crate) const SYSTEM: usize = 1;
    pub(crate) const NODE_HIGH: usize = 2;
    pub(crate) const LEADER_ELECTION: usize = 3;
    pub(crate) const WORKLOAD_HIGH: usize = 4;
    pub(crate) const WORKLOAD_LOW: usize = 5;
    pub(crate) const GLOBAL_DEFAULT: usize = 6;
}

/// What a level does with a request that finds no free seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum LimitResponse {
    /// There is no limit: everything runs at once, seats are counted only for statistics.
    Exempt,
    /// 429 at once.
    Reject,
    /// It waits in one of `queues` queues, picked from its flow's hand of `hand_size`; a queue holds at most
    /// `queue_length_limit` requests while all seats are taken.
    Queue { queues: u16, hand_size: u16, queue_length_limit: u32 },
}

/// A PriorityLevelConfiguration. `borrowingLimitPercent` is not set in any default level, so it has no field.
#[derive(Clone, Copy, Debug)]
pub(super) struct LevelConfig {
    pub(super) name: &'static str,
    /// `nominalConcurrencyShares`
    pub(super) shares: u32,
    /// `lendablePercent`
    pub(super) lendable_percent: u32,
    pub(super) response: LimitResponse,
}

const fn queue(queues: u16, hand_size: u16) -> LimitResponse {
    LimitResponse::Queue { queues, hand_size, queue_length_limit: 50 }
}

const fn config(
    name: &'static str,
    shares: u32,
    lendable_percent: u32,
    response: LimitResponse,
) -> LevelConfig {
    LevelConfig { name, shares, lendable_percent, response }
}

/// The default priority levels, indexed by the constants in [`level`].
pub(super) const LEVELS: [LevelConfig; 8] = [
    config("exempt", 0, 0, LimitResponse::Exempt),
    config("system", 30, 33, queue(64, 6)),
    config("node-high", 40, 25, queue(64, 6)),
    config("leader-election", 10, 0, queue(16, 4)),
    config("workload-high", 40, 50, queue(128, 6)),
    config("workload-low", 100, 90, queue(128, 6)),
    config("global-default", 20, 50, queue(128, 6)),
    config("catch-all", 5, 0, LimitResponse::Reject),
];

/// A level's share of the server's seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Limits {
    pub(super) nominal: u32,
    /// What it keeps however much others borrow.
    pub(super) min: u32,
    /// What it may reach by borrowing.
    pub(super) max: u32,
    /// The widest request the work estimator may ask of this level (0: the estimator's own cap applies).
    pub(super) max_seats: u32,
}

impl LevelConfig {
    /// The limits of this level on a server of `total_seats`, where all levels' shares add up to `share_sum`.
    /// Nominal limits are rounded up, so they may add up to a little more than the total.
    pub(super) fn limits(&self, total_seats: u32, share_sum: u32) -> Limits {
        let nominal = (u64::from(total_seats) * u64::from(self.shares)).div_ceil(u64::from(share_sum)) as u32;
        // Rounded half up.
        let lendable = ((2 * u64::from(nominal) * u64::from(self.lendable_percent) + 100) / 200) as u32;
        let max_seats = match self.response {
            LimitResponse::Queue { hand_size, .. } => {
                let fifteen_percent = (f64::from(nominal) * 0.15).ceil() as u32;
                fifteen_percent.min(nominal / u32::from(hand_size)).max(1)
            }
            LimitResponse::Exempt | LimitResponse::Reject => 0,
        };
        Limits { nominal, min: nominal - lendable, max: nominal.saturating_add(total_seats), max_seats }
    }
}

/// Who sends a request, as authentication sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity<'a> {
    /// A member of group `system:masters` (an admin kubeconfig of old, the loopback client): never limited.
    Masters,
    /// A user by name with no group that a schema names, such as `system:kube-scheduler`,
    /// `system:kube-controller-manager` or a load generator with its own certificate.
    User(&'a str),
    /// A service account.
    ServiceAccount {
        /// its namespace
        namespace: &'a str,
        /// its name
        name: &'a str,
    },
    /// A kubelet (group `system:nodes`), by the name of its node.
    Node(&'a str),
}

/// What a request touches, as far as the flow schemas care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceClass {
    /// get, create or update of `coordination.k8s.io/leases`
    Leases,
    /// `nodes` and `nodes/status`
    Nodes,
    /// everything else: pods, bindings, events, lists and watches
    Other,
}

/// The flow schema a request matches, and what tells its flow from others of that schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Classification {
    pub(super) schema: &'static str,
    pub(super) level: usize,
    /// The user or namespace, by the schema's distinguisher method.
    pub(super) distinguisher: String,
}

const KUBE_SCHEDULER: &str = "system:kube-scheduler";
const KUBE_CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
const KUBE_SYSTEM: &str = "kube-system";

/// Finds the flow schema of a request: the first match in order of matching precedence.
pub(super) fn classify(identity: Identity, class: ResourceClass, namespace: &str) -> Classification {
    let (schema, level, distinguisher) = match identity {
        Identity::Masters => ("exempt", level::EXEMPT, String::new()),
        Identity::User(user) => match (user, class) {
            (KUBE_SCHEDULER | KUBE_CONTROLLER_MANAGER, ResourceClass::Leases) => {
                ("system-leader-election", level::LEADER_ELECTION, user.to_owned())
            }
            (KUBE_SCHEDULER, _) => ("kube-scheduler", level::WORKLOAD_HIGH, namespace.to_owned()),
            (KUBE_CONTROLLER_MANAGER, _) => {
                ("kube-controller-manager", level::WORKLOAD_HIGH, namespace.to_owned())
            }
            _ => ("global-default", level::GLOBAL_DEFAULT, user.to_owned()),
        },
        Identity::ServiceAccount { namespace: home, name } => {
            let user = format!("system:serviceaccount:{home}:{name}");
            match (home, class) {
                (KUBE_SYSTEM, ResourceClass::Leases) => {
                    ("system-leader-election", level::LEADER_ELECTION, user)
                }
                (KUBE_SYSTEM, _) => {
                    ("kube-system-service-accounts", level::WORKLOAD_HIGH, namespace.to_owned())
                }
                _ => ("service-accounts", level::WORKLOAD_LOW, user),
            }
        }
        Identity::Node(node) => {
            let user = format!("system:node:{node}");
            match class {
                ResourceClass::Leases | ResourceClass::Nodes => ("system-node-high", level::NODE_HIGH, user),
                ResourceClass::Other => ("system-nodes", level::SYSTEM, user),
            }
        }
    };
    Classification { schema, level, distinguisher }
}

/// How many seats a request takes and for how long: `seats` while its handler runs, then `final_seats` for
/// `extra_latency_ns` more while its watch events go out. The client has its answer when the handler returns; the
/// larger of the two is held throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Width {
    /// Seats while the handler runs; at least 1.
    pub seats: u32,
    /// Seats after it.
    pub final_seats: u32,
    /// How long the final seats are held, in ns.
    pub extra_latency_ns: u64,
}

/// Watchers that make one final seat, and the fewest that count at all.
const WATCHERS_PER_SEAT: u32 = 10;
/// How long a final seat is held for a write's watch events.
const EVENT_LATENCY_NS: u64 = 5_000_000;
/// The work estimator's cap on a write's final seats.
const MAX_MUTATING_SEATS: u32 = 10;
/// The work estimator's cap on a list's seats.
const MAX_LIST_SEATS: u32 = 100;
/// Bytes in memory that make one seat of a list.
const LIST_BYTES_PER_SEAT: u64 = 100_000;
/// A list from the watch cache is streamed and counts at most this many bytes.
const LIST_CACHE_MAX_BYTES: u64 = 1_000_000;

impl Width {
    /// One seat and no more: get, watch without initial events, a write that nobody watches.
    pub const ONE: Width = Width { seats: 1, final_seats: 0, extra_latency_ns: 0 };

    /// A create, update, patch or delete that `watchers` watches will be told of. Below ten watchers nothing is
    /// added. `level_max_seats` is the level's cap ([`max_seats`](super::Apf::max_seats)); where the seats are
    /// capped, they are held longer, so that seats times time stays.
    pub fn mutating(watchers: u32, level_max_seats: u32) -> Width {
        if watchers < WATCHERS_PER_SEAT {
            return Width::ONE;
        }
        let cap = match level_max_seats {
            0 => MAX_MUTATING_SEATS,
            seats => seats.min(MAX_MUTATING_SEATS),
        };
        let wanted = watchers.div_ceil(WATCHERS_PER_SEAT);
        let final_seats = wanted.min(cap);
        let extra_latency_ns = u64::from(wanted) * EVENT_LATENCY_NS / u64::from(final_seats);
        Width { seats: 1, final_seats, extra_latency_ns }
    }

    /// A list, or a watch that asks for initial events, that loads `bytes` (objects times their mean size) into
    /// memory, from the watch cache or from etcd. Kubernetes 1.34 and later (SizeBasedListCostEstimate).
    pub fn list(bytes: u64, from_cache: bool, level_max_seats: u32) -> Width {
        let bytes = if from_cache { bytes.min(LIST_CACHE_MAX_BYTES) } else { bytes };
        let cap = match level_max_seats {
            0 => MAX_LIST_SEATS,
            seats => seats.min(MAX_LIST_SEATS),
        };
        let seats = bytes.div_ceil(LIST_BYTES_PER_SEAT).clamp(1, u64::from(cap)) as u32;
        Width { seats, final_seats: 0, extra_latency_ns: 0 }
    }

    /// The seats held throughout.
    pub fn max_seats(&self) -> u32 {
        self.seats.max(self.final_seats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(total: u32) -> Vec<Limits> {
        let shares = LEVELS.iter().map(|l| l.shares).sum();
        LEVELS.iter().map(|l| l.limits(total, shares)).collect()
    }

    #[test]
    fn a_default_server_splits_600_seats_by_shares_rounded_up() {
        let limits = limits(DEFAULT_TOTAL_SEATS);
        let column = |f: fn(&Limits) -> u32| limits.iter().map(f).collect::<Vec<_>>();
        assert_eq!(column(|l| l.nominal), [0, 74, 98, 25, 98, 245, 49, 13]);
        assert_eq!(column(|l| l.nominal).iter().sum::<u32>(), 602);
        assert_eq!(column(|l| l.min), [0, 50, 73, 25, 49, 24, 24, 13]);
        assert_eq!(column(|l| l.max)[1..], [674, 698, 625, 698, 845, 649, 613]);
        assert_eq!(column(|l| l.max_seats), [0, 12, 15, 4, 15, 37, 8, 0]);
    }

    #[test]
    fn the_schemas_sort_components_into_levels() {
        let at = |identity, class, namespace: &str| {
            let c = classify(identity, class, namespace);
            (c.schema, LEVELS[c.level].name, c.distinguisher)
        };
        use ResourceClass::{Leases, Nodes, Other};
        let yunikorn = Identity::ServiceAccount { namespace: "yunikorn", name: "yunikorn-admin" };
        let operator = Identity::ServiceAccount { namespace: "kube-system", name: "operator" };
        assert_eq!(at(Identity::Masters, Other, "a"), ("exempt", "exempt", String::new()));
        assert_eq!(
            at(Identity::User("system:kube-scheduler"), Other, "batch"),
            ("kube-scheduler", "workload-high", "batch".to_owned())
        );
        assert_eq!(
            at(Identity::User("system:kube-scheduler"), Leases, "kube-system"),
            ("system-leader-election", "leader-election", "system:kube-scheduler".to_owned())
        );
        assert_eq!(
            at(Identity::User("system:kube-controller-manager"), Other, "batch"),
            ("kube-controller-manager", "workload-high", "batch".to_owned())
        );
        assert_eq!(
            at(Identity::User("kubernetes-admin"), Other, "batch"),
            ("global-default", "global-default", "kubernetes-admin".to_owned())
        );
        // One flow for all namespaces, and its leases have no level of their own.
        for class in [Other, Leases] {
            assert_eq!(
                at(yunikorn, class, "batch"),
                (
                    "service-accounts",
                    "workload-low",
                    "system:serviceaccount:yunikorn:yunikorn-admin".to_owned()
                )
            );
        }
        assert_eq!(
            at(operator, Other, "batch"),
            ("kube-system-service-accounts", "workload-high", "batch".to_owned())
        );
        assert_eq!(at(operator, Leases, "batch").1, "leader-election");
        for class in [Leases, Nodes] {
            assert_eq!(
                at(Identity::Node("n1"), class, ""),
                ("system-node-high", "node-high", "system:node:n1".to_owned())
            );
        }
        assert_eq!(
            at(Identity::Node("n1"), Other, "batch"),
            ("system-nodes", "system", "system:node:n1".to_owned())
        );
    }

    #[test]
    fn writes_take_final_seats_from_ten_watchers_on() {
        assert_eq!(Width::mutating(9, 15), Width::ONE);
        assert_eq!(Width::mutating(10, 15), Width { seats: 1, final_seats: 1, extra_latency_ns: 5_000_000 });
        assert_eq!(Width::mutating(11, 15).final_seats, 2);
        // Capped at ten seats, and then longer: 20 seats for 5 ms become 10 for 10 ms.
        assert_eq!(
            Width::mutating(200, 15),
            Width { seats: 1, final_seats: 10, extra_latency_ns: 10_000_000 }
        );
        // global-default allows 8: 20 x 5 ms / 8.
        assert_eq!(Width::mutating(200, 8), Width { seats: 1, final_seats: 8, extra_latency_ns: 12_500_000 });
        // A level without queues has no cap of its own.
        assert_eq!(Width::mutating(200, 0).final_seats, 10);
        assert_eq!(Width::mutating(200, 8).max_seats(), 8);
    }

    #[test]
    fn lists_take_a_seat_for_each_100_kb() {
        assert_eq!(Width::list(0, true, 15).seats, 1);
        assert_eq!(Width::list(100_001, true, 15).seats, 2);
        assert_eq!(Width::list(1 << 40, true, 37).seats, 10);
        assert_eq!(Width::list(1 << 40, false, 37).seats, 37);
        assert_eq!(Width::list(1 << 40, false, 0).seats, 100);
    }
}
