//! Which queue an application goes to: the placement rules.
//!
//! Rules are tried in order; the first that names a queue which exists or may be made, which is a leaf (or will be), and to
//! which the user may submit, places the application. A rule finds a name (a fixed one, the one that the application asks
//! for, the user's, a tag's value) and puts it below the queue that its parent rule finds, or below the root; names that
//! begin at the root go without the parent rule. If no rule after the last matches, `root.default` takes the
//! application if it exists. No rules at all are one rule `provided` that makes nothing. An error in a rule (a name that is
//! no queue name, a parent rule that finds a leaf) rejects the application at once.
//!
//! Sources: `pkg/scheduler/placement` of yunikorn-core 1.8.
//!
//! An application with pods that were bound before the scheduler began goes to the recovery queue if no rule places it.
//!
//! Left out: tags other than `namespace`.
//!
//! Cost: O(rules x depth) an application.
use super::config::{Rule, RuleKind, is_queue_name};
use super::queues::Queues;
use crate::cluster::App;

/// The queue that takes applications which no rule places, if it exists.
const DEFAULT_QUEUE: &str = "root.default";
const DEFAULT_USER: &str = "nobody";
const DEFAULT_NAMESPACE: &str = "default";

/// The user of an application as YuniKorn sees it.
#[must_use]
pub fn user(app: &App) -> &str {
    if app.user.is_empty() { DEFAULT_USER } else { &app.user }
}

fn checked(name: &str) -> Result<(), String> {
    if name.split('.').all(is_queue_name) {
        return Ok(());
    }
    Err(format!("`{name}` is no queue name"))
}

/// The full name of the application's queue, which exists as a leaf or can be made.
///
/// # Errors
/// The application is rejected; the reason.
pub fn place(rules: &[Rule], queues: &Queues, app: &App) -> Result<String, String> {
    const PROVIDED: Rule = Rule {
        kind: RuleKind::Provided,
        create: false,
        filter: super::config::Filter {
            allow: true,
            empty: true,
            users: super::config::Names::List(std::collections::BTreeSet::new()),
            groups: super::config::Names::List(std::collections::BTreeSet::new()),
        },
        parent: None,
    };
    let provided = [PROVIDED];
    let rules = if rules.is_empty() { &provided[..] } else { rules };
    // The rule for recovery, which places nothing here, is always the last.
    for (at, rule) in rules.iter().map(Some).chain([None]).enumerate() {
        let mut name = match rule {
            Some(rule) => run(rule, queues, app)?,
            None => None,
        };
        if name.is_none() && at == rules.len() && queues.find(DEFAULT_QUEUE).is_some() {
            name = Some(DEFAULT_QUEUE.to_owned());
        }
        let Some(name) = name else { continue };
        let (nearest, exists) = queues.nearest(&name);
        let fits = !exists || queues.get(nearest).is_leaf();
        if fits && queues.may_submit(nearest, user(app), &app.groups) {
            return Ok(name);
        }
    }
    Err("application rejected: no placement rule matched".to_owned())
}

/// What one rule finds.
fn run(rule: &Rule, queues: &Queues, app: &App) -> Result<Option<String>, String> {
    let passes = rule.filter.passes(user(app), &app.groups);
    let (name, qualified) = match &rule.kind {
        RuleKind::Fixed { queue, qualified } => {
            if !passes {
                return Ok(None);
            }
            (queue.clone(), *qualified)
        }
        RuleKind::User => {
            if !passes {
                return Ok(None);
            }
            let name = user(app).replace('.', "_dot_");
            checked(&name)?;
            (name, false)
        }
        RuleKind::Provided | RuleKind::Tag(_) => {
            let value = match &rule.kind {
                RuleKind::Provided => app.queue.as_str(),
                RuleKind::Tag(tag) if tag == "namespace" && app.namespace.is_empty() => DEFAULT_NAMESPACE,
                RuleKind::Tag(tag) if tag == "namespace" => app.namespace.as_str(),
                _ => "",
            };
            if value.is_empty() || !passes {
                return Ok(None);
            }
            let qualified = value.starts_with("root.");
            let name = if qualified { value.to_owned() } else { value.replace('.', "_dot_") };
            checked(&name)?;
            (name, qualified)
        }
    };
    let name = if qualified {
        name
    } else {
        let parent = match &rule.parent {
            None => "root".to_owned(),
            Some(parent) => {
                let Some(found) = run(parent, queues, app)? else { return Ok(None) };
                let found = if found.starts_with("root.") { found } else { format!("root.{found}") };
                if queues.find(&found).is_some_and(|q| queues.get(q).is_leaf()) {
                    return Err(format!("parent rule returned a leaf queue: {found}"));
                }
                found
            }
        };
        format!("{parent}.{name}")
    };
    Ok((rule.create || queues.find(&name).is_some()).then_some(name))
}
