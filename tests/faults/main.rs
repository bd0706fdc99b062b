//! Faults: what goes wrong, what the control plane does about it, and that nothing is lost.
mod autoscaler;
mod autoscaler_random;
mod cron_jobs;
mod cron_manifests;
mod daemon_sets;
mod drains;
mod errors;
mod karpenter;
mod nodes;
mod objects;
mod pod_manifests;
mod random;
mod rollouts;
mod scalings;
mod servers;
mod stages;
mod support;
