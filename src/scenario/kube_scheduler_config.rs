//! `KubeSchedulerConfiguration`, as a cluster has it.
use super::config_file::{ConfigFile, SchedulerConfig};
use super::diagnostic::Diagnostic;
use super::tree::Path;

/// Reads a configuration.
pub(super) fn read(file: &ConfigFile) -> Result<SchedulerConfig, Vec<Diagnostic>> {
    let message = "the configuration file of `kube-scheduler` is not supported yet";
    Err(vec![file.diagnostic(&Path::default(), message, "write the settings in the scenario itself")])
}
