//! Speed of the engine: event queue, hosts.
fn main() {}
