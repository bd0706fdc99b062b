//! stub
use super::*;
pub struct YuniKorn;
impl YuniKorn {
    pub fn build(s: &Settings, m: &mut Meter) -> Result<Box<dyn SchedulerModel>, ProfileError> {
        FirstFit::build(s, m)
    }
}
