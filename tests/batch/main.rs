//! Schedulers for batch loads: Volcano, and Kueue in front of kube-scheduler. Decisions as the real project's tests and code state them, and what must hold in any
//! run.
mod kueue;
mod kueue_cohorts;
mod kueue_fair;
mod kueue_fair_runs;
mod kueue_preemption;
mod kueue_tree;
mod support;
mod volcano_config;
mod volcano_decisions;
mod volcano_runs;
