//! Sweeps: what they keep when they are killed or the disk fails, parts and `merge`, seeds that results decide on, memory.
mod crash;
mod disk;
mod memory;
mod resume;
mod shards;
#[path = "../support/mod.rs"]
mod support;
mod system_calls;
