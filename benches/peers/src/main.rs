//! E1 (M/M/10) and E2 (hold) in simcore and in nexosim, draw by draw as `podpace::engine::reference` defines them.
//!
//! ```sh
//! cargo run --release -- simcore mm10 1000000
//! cargo run --release -- nexosim hold 5000 5000000
//! ```
//!
//! Each engine is used as its own examples use it: simcore with one component and events cast by type, nexosim with one
//! model on one thread that schedules its own inputs.
mod nexosim_models;
mod simcore_models;

/// SplitMix64 with seed 42.
pub struct SplitMix64(u64);

impl SplitMix64 {
    pub fn new() -> Self {
        Self(42)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Seconds.
    pub fn exponential(&mut self, rate: f64) -> f64 {
        let uniform = ((self.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -uniform.ln() / rate
    }
}

/// What a model found: events, and the mean wait of M/M/10 in seconds.
pub struct Found {
    pub events: u64,
    pub mean_wait_s: Option<f64>,
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    stat.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args.get(at).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let text = |at: usize| args.get(at).map_or("", String::as_str);
    let before = cpu_seconds();
    let found = match (text(0), text(1)) {
        ("simcore", "mm10") => simcore_models::mm10(number(2)),
        ("simcore", "hold") => simcore_models::hold(number(2), number(3)),
        ("nexosim", "mm10") => nexosim_models::mm10(number(2)),
        ("nexosim", "hold") => nexosim_models::hold(number(2), number(3)),
        _ => {
            eprintln!("usage: podpace-peers simcore|nexosim mm10 CUSTOMERS | hold PENDING EVENTS");
            std::process::exit(2);
        }
    };
    let wait = found.mean_wait_s.map_or("null".to_owned(), |wait| format!("{wait:.4}"));
    println!(
        "{{\"engine\":\"{}\",\"workload\":\"{}\",\"events\":{},\"cpu_s\":{:.4},\"peak_mib\":{:.1},\"mean_wait_s\":{wait}}}",
        text(0),
        text(1),
        found.events,
        cpu_seconds() - before,
        peak_mib(),
    );
}
