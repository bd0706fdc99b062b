//! Faults: what goes wrong, what the control plane does about it, and that nothing is lost.
mod autoscaler;
mod drains;
mod errors;
mod nodes;
mod objects;
mod random;
mod servers;
mod support;
