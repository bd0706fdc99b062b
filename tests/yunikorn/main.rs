//! YuniKorn: its own tests' facts, its core against a plain walk, victims that the real core chose, and what surrounds the core.
//! One binary, since each links all of podpace.
mod conformance;
mod harness;
mod oracle;
mod preemption;
mod scheduler;
