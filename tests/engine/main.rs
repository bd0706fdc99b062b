//! The engine: event queue, hosts, random streams.
//! One binary, since each links all of podpace.
mod host;
mod queue;
mod random;
