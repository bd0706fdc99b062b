//! Dependencies between tasks as times of creation: a task comes when its parents would have ended, had nobody waited.
//!
//! Formats that know what depends on what, but not when it was submitted, share this. A simulated delay of a parent
//! does not delay its children: times of creation are fixed in a trace. Kahn's algorithm, O(tasks + edges).

/// A task of a graph: the earliest it may come, its run time, and its parents' positions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dependent {
    /// It does not come before this, ns.
    pub not_before: i64,
    /// How long it runs, ns.
    pub run: i64,
    /// Positions of its parents.
    pub parents: Vec<usize>,
}

/// When each task comes; `None` if some depend on themselves.
pub(crate) fn earliest(tasks: &[Dependent]) -> Option<Vec<i64>> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    let mut waiting = vec![0usize; tasks.len()];
    for (i, task) in tasks.iter().enumerate() {
        for &parent in &task.parents {
            children[parent].push(i);
            waiting[i] += 1;
        }
    }
    let mut comes: Vec<i64> = tasks.iter().map(|task| task.not_before).collect();
    let mut ready: Vec<usize> = (0..tasks.len()).filter(|i| waiting[*i] == 0).collect();
    let mut done = 0;
    while let Some(i) = ready.pop() {
        done += 1;
        let end = comes[i].saturating_add(tasks[i].run);
        for &child in &children[i] {
            comes[child] = comes[child].max(end);
            waiting[child] -= 1;
            if waiting[child] == 0 {
                ready.push(child);
            }
        }
    }
    (done == tasks.len()).then_some(comes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_comes_at_the_latest_end_of_its_parents() {
        let task =
            |not_before, run, parents: &[usize]| Dependent { not_before, run, parents: parents.to_vec() };
        let diamond = [task(0, 5, &[]), task(0, 3, &[0]), task(10, 1, &[0]), task(0, 1, &[1, 2])];
        assert_eq!(earliest(&diamond), Some(vec![0, 5, 10, 11]));
        assert_eq!(earliest(&[task(0, 1, &[1]), task(0, 1, &[0])]), None);
        assert_eq!(earliest(&[task(0, 1, &[0])]), None);
        assert_eq!(earliest(&[]), Some(vec![]));
    }
}
