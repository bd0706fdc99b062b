//! The simulation engine: clock, event queue, processor-sharing hosts, random streams.
//!
//! It models time, order, CPU contention and chance, and knows nothing of what is simulated. It opens no file,
//! reads no wall clock and starts no thread. Everything is integer except the shapes of random
//! distributions, which go through `libm` so that every machine computes the same bits.
//!
//! An event loop is a `while let Some((now, event)) = queue.pop()` in the caller: there are no callbacks
//! here, and no boxes on the hot path. Two things make a run reproducible: the queue's total order
//! (time, then sequence of push) and the named random streams, which do not disturb each other.
//!
//! | Module        | What it is                                        | Cost                                   |
//! |---------------|---------------------------------------------------|----------------------------------------|
//! | [`time`]      | nanoseconds in a `u64`                            |                                        |
//! | [`queue`]     | pending events in a total order                   | O(1) amortised a push and pop          |
//! | [`host`]      | CPU work shared by components of a host           | O(log jobs + components) a change      |
//! | [`random`]    | named, seeded streams and distributions           | O(1) a draw                            |
//! | [`codec`]       | state as bytes, for checkpoints                   | O(bytes)                               |
//! | [`mod@reference`] | two known models that measure and check the queue | one push and pop an event              |

pub mod codec;
pub mod guard;
pub mod host;
pub mod queue;
pub mod random;
pub mod reference;
pub mod time;

pub use host::{ComponentId, Discipline, HostId, Hosts, MAX_CPU_NS};
pub use queue::{EventQueue, HeapQueue, RadixQueue, RunQueue};
pub use random::{Rng, Streams};
pub use time::{MICROSECOND, MILLISECOND, Nanos, SECOND};
