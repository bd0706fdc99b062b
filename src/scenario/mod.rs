//! scenario
pub mod duration;
pub mod limits;
pub mod quantity;
pub mod spec;
mod text;
