//! kube-scheduler: its own tests' facts, counters of a real one, and the fast one against one written plainly.
//! One binary, since each links all of podpace.
mod conformance;
mod counters;
mod differential;
mod scheduling;
mod support;
