//! Limits of users and groups: what each may use, and how many applications each may run, in a queue and below it.
//!
//! A user is followed in every queue that he uses, and so are the queues above. What holds for him in a queue is the limit
//! that names him there, else that of `*`, which each user has for himself. An application counts for one group
//! besides: the first group, by the configuration's order, that a limit names and the user is in, looked for from the leaf
//! upwards; else the group `*` of the nearest queue that has one, which is one account for everybody. An ask fits if it
//! stays within every limit from the leaf up to the root; an application that runs nothing yet may start if no limit of
//! applications is reached.
//!
//! Source: `pkg/scheduler/ugm` of yunikorn-core 1.8.
//!
//! Cost: O(depth x log accounts) an allocation of an application whose queues have limits, nothing otherwise.
use std::collections::BTreeMap;

use super::config::{Usage, UserLimit};
use super::placement;
use super::queues::{Queue, QueueId, Queues};
use crate::cluster::{App, PodSpec};

/// Index of an owner: a user, with the group for which his application counts.
pub type OwnerId = u32;
/// Nobody: nothing is limited.
pub const NOBODY: OwnerId = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
struct Account(u32);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
enum Name {
    User(String),
    Group(String),
}

#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
struct Entry {
    used: Usage,
    applications: u64,
}

/// What users and groups use.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    enabled: bool,
    names: Vec<Name>,
    by_name: BTreeMap<Name, Account>,
    owners: Vec<(Account, Option<Account>)>,
    by_accounts: BTreeMap<(Account, Option<Account>), OwnerId>,
    entries: BTreeMap<(Account, QueueId), Entry>,
}

impl Limits {
    /// Limits that follow users if some queue has a limit.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        let mut limits = Self { enabled, ..Self::default() };
        let nobody = limits.account(Name::User(String::new()));
        limits.owner_of(nobody, None);
        limits
    }

    fn account(&mut self, name: Name) -> Account {
        if let Some(account) = self.by_name.get(&name) {
            return *account;
        }
        let account = Account(u32::try_from(self.names.len()).expect("users are limited"));
        self.names.push(name.clone());
        self.by_name.insert(name, account);
        account
    }

    fn owner_of(&mut self, user: Account, group: Option<Account>) -> OwnerId {
        let next = OwnerId::try_from(self.owners.len()).expect("users are limited");
        let owner = *self.by_accounts.entry((user, group)).or_insert(next);
        if owner == next {
            self.owners.push((user, group));
        }
        owner
    }

    /// The owner of an application in a leaf queue.
    pub fn owner(&mut self, queues: &Queues, leaf: QueueId, app: &App) -> OwnerId {
        if !self.enabled {
            return NOBODY;
        }
        let user = self.account(Name::User(placement::user(app).to_owned()));
        let group = queues.path(leaf).find_map(|(_, queue)| {
            let groups = || queue.limits.iter().flat_map(|l| &l.groups);
            let named = groups().find(|g| *g != "*" && app.groups.contains(g));
            named.or_else(|| groups().find(|g| *g == "*")).cloned()
        });
        let group = group.map(|g| self.account(Name::Group(g)));
        self.owner_of(user, group)
    }

    fn accounts(&self, owner: OwnerId) -> impl Iterator<Item = Account> + use<> {
        let (user, group) = self.owners[owner as usize];
        std::iter::once(user).chain(group)
    }

    fn limit<'a>(&self, account: Account, queue: &'a Queue) -> Option<&'a UserLimit> {
        match &self.names[account.0 as usize] {
            Name::User(name) => {
                let named = |n: &str| queue.limits.iter().find(|l| l.users.iter().any(|u| u == n));
                named(name).or_else(|| named("*"))
            }
            Name::Group(name) => queue.limits.iter().find(|l| l.groups.contains(name)),
        }
    }

    /// Whether one more pod stays within every limit.
    #[must_use]
    pub fn has_room(&self, queues: &Queues, leaf: QueueId, owner: OwnerId, spec: &PodSpec) -> bool {
        let none = Usage::NONE;
        owner == NOBODY
            || queues.path(leaf).filter(|(_, q)| !q.limits.is_empty()).all(|(id, queue)| {
                self.accounts(owner).all(|account| {
                    let Some(limit) = self.limit(account, queue).filter(|l| l.max.is_positive()) else {
                        return true;
                    };
                    let used = self.entries.get(&(account, id)).map_or(&none, |e| &e.used);
                    limit.max.has_room(used, spec)
                })
            })
    }

    /// Whether one more application may run.
    #[must_use]
    pub fn may_run(&self, queues: &Queues, leaf: QueueId, owner: OwnerId) -> bool {
        owner == NOBODY
            || queues.path(leaf).filter(|(_, q)| !q.limits.is_empty()).all(|(id, queue)| {
                self.accounts(owner).all(|account| {
                    let most = self.limit(account, queue).map_or(0, |l| l.max_applications);
                    let running = self.entries.get(&(account, id)).map_or(0, |e| e.applications);
                    most == 0 || running < most
                })
            })
    }

    /// Counts a pod; `first`: with it its application counts, too.
    pub fn allocate(&mut self, queues: &Queues, leaf: QueueId, owner: OwnerId, spec: &PodSpec, first: bool) {
        self.change(queues, leaf, owner, |entry| {
            entry.used.add(spec);
            entry.applications += u64::from(first);
        });
    }

    /// Takes a pod off; `last`: and with it its application.
    pub fn release(&mut self, queues: &Queues, leaf: QueueId, owner: OwnerId, spec: &PodSpec, last: bool) {
        self.change(queues, leaf, owner, |entry| {
            entry.used.remove(spec);
            entry.applications -= u64::from(last);
        });
    }

    /// Takes an application off that has no pod any more.
    pub fn end_application(&mut self, queues: &Queues, leaf: QueueId, owner: OwnerId) {
        self.change(queues, leaf, owner, |entry| entry.applications -= 1);
    }

    fn change(&mut self, queues: &Queues, leaf: QueueId, owner: OwnerId, mut change: impl FnMut(&mut Entry)) {
        if owner == NOBODY {
            return;
        }
        for (id, _) in queues.path(leaf) {
            for account in self.accounts(owner) {
                change(self.entries.entry((account, id)).or_default());
            }
        }
    }
}
