//! stub
use super::*;
use crate::cluster::PodSpec;
pub fn static_rejection(_c: &Cluster, _s: &PodSpec, _n: NodeId) -> Option<&'static str> {
    None
}
pub struct KubeScheduler;
impl KubeScheduler {
    pub fn build(s: &Settings, m: &mut Meter) -> Result<Box<dyn SchedulerModel>, ProfileError> {
        FirstFit::build(s, m)
    }
}
