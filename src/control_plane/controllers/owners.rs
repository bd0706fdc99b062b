//! Owners: the numbers by which pods, answers and timers name the objects of a controller.
//!
//! Each controller has a run of consecutive owners, one an object, in the order of its objects.
//!
//! Cost: O(1).

/// The owners of a controller's objects.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Owners {
    first: u32,
    count: u32,
}

impl Owners {
    /// So many, from this one on.
    pub fn new(first: u32, count: usize) -> Self {
        Self { first, count: u32::try_from(count).expect("objects are counted in 32 bits") }
    }

    /// The owner that stands for an object.
    pub const fn of(self, at: u32) -> u32 {
        self.first + at
    }

    /// The object that an owner stands for; none: another controller's.
    pub fn index_of(self, owner: u32) -> Option<u32> {
        owner.checked_sub(self.first).filter(|at| *at < self.count)
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = u32> + use<> {
        self.first..self.first + self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_objects_name_each_other() {
        let owners = Owners::new(7, 3);
        assert_eq!(
            owners.iter().map(|owner| owners.index_of(owner)).collect::<Vec<_>>(),
            [Some(0), Some(1), Some(2)]
        );
        assert!((0..3).all(|at| owners.index_of(owners.of(at)) == Some(at)));
        assert_eq!([6, 10].map(|owner| owners.index_of(owner)), [None, None]);
    }
}
