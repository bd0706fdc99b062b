//! The machine that podpace itself runs on: how much memory a process may take before it is ended.
//!
//! The least of the memory of the machine (`/proc/meminfo`) and of the limits of the control groups that the process is in
//! (`memory.max`, or `memory.limit_in_bytes` of version 1), and of its address space (`ulimit -v`). Left out: swap, what other processes take, and systems other than
//! Linux, where nothing is known.
//!
//! Cost: a few small files, read once a command.
use std::fs;
use std::path::Path;

/// Memory that the machine, or the process's control group, has, bytes.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_bytes(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(limit_files).filter_map(|path| {
        // `max`: there is none.
        fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()
    });
    let address_space =
        fs::read_to_string("/proc/self/limits").ok().and_then(|text| address_space_bytes(&text));
    total.into_iter().chain(address_space).chain(limits).filter(|bytes| *bytes > 0).min()
}

/// `MemTotal` of `/proc/meminfo`, which is in KiB.
fn total_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The soft limit of `ulimit -v`; none: `unlimited`.
fn address_space_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Where the limits of a line of `/proc/self/cgroup` stand: of the group, and of those around it.
fn limit_files(line: &str) -> Vec<String> {
    let mut parts = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
        return Vec::new();
    };
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        it if it.split(',').any(|name| name == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    // In a container the root that is seen is the group itself.
    let groups = Path::new(group).ancestors();
    groups
        .map(|group| format!("{root}{}/{file}", group.display().to_string().trim_end_matches('/')))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_the_machine_and_of_its_groups() {
        assert_eq!(total_bytes("MemTotal:       24613052 kB\nMemFree: 1 kB\n"), Some(24_613_052 * 1024));
        assert_eq!(total_bytes("MemFree: 1 kB\n"), None);
        assert_eq!(
            address_space_bytes("Max address space         4294967296           unlimited   bytes\n"),
            Some(1 << 32)
        );
        assert_eq!(
            address_space_bytes("Max address space         unlimited            unlimited   bytes\n"),
            None
        );
        let expected =
            ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"];
        assert_eq!(limit_files("0::/a/b"), expected);
        assert_eq!(limit_files("5:cpu,memory:/"), ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
        assert!(limit_files("6:cpu:/").is_empty() && limit_files("").is_empty());
    }
}
