//! The meter of one component: how often each operation ran and what that cost.
use super::{CostProfile, Picos, ProfileError};

/// Names one operation of a [`Meter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct OpId(u16);

impl OpId {
    /// Stands where there is no meter; charging it is an error.
    pub const NONE: Self = Self(u16::MAX);
}

/// One operation's account.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Charged {
    /// Name, as in the profile.
    pub operation: String,
    /// Cost of one, in picoseconds.
    pub unit_ps: Picos,
    /// How often it ran.
    pub count: u64,
}

impl Charged {
    /// Count times unit cost, in picoseconds.
    #[must_use]
    pub const fn total_ps(&self) -> u128 {
        self.unit_ps as u128 * self.count as u128
    }
}

/// The most that one charge comes to, three days: sums of a cycle's operations stay within [`Picos`], whatever a scenario asks for.
pub const MOST_AT_ONCE_PS: Picos = 1 << 58;

/// Counts operations and charges them at a profile's unit costs.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Meter {
    /// An input: not part of a checkpoint, see [`Meter::keep_profile_of`].
    #[serde(skip, default = "no_profile")]
    profile: CostProfile,
    accounts: Vec<Charged>,
}

fn no_profile() -> CostProfile {
    CostProfile::free("")
}

impl Meter {
    /// A meter with no operation yet.
    #[must_use]
    pub fn new(profile: CostProfile) -> Self {
        Self { profile, accounts: Vec::new() }
    }

    /// A meter whose every operation is free: for components that a scenario leaves out.
    #[must_use]
    pub fn free(name: &str) -> Self {
        Self::new(CostProfile::free(name))
    }

    /// Registers an operation by its name in the profile.
    ///
    /// # Errors
    /// The profile has no cost of that name.
    pub fn operation(&mut self, name: &str) -> Result<OpId, ProfileError> {
        if let Some(i) = self.accounts.iter().position(|a| a.operation == name) {
            return Ok(OpId(u16::try_from(i).expect("few operations")));
        }
        let unit_ps = self.profile.cost_ps(name)?;
        self.accounts.push(Charged { operation: name.to_owned(), unit_ps, count: 0 });
        Ok(OpId(u16::try_from(self.accounts.len() - 1).expect("few operations")))
    }

    /// Registers an operation that costs nothing where the profile does not have it.
    pub fn operation_or_free(&mut self, name: &str) -> OpId {
        self.operation(name).unwrap_or_else(|_| {
            self.accounts.push(Charged { operation: name.to_owned(), unit_ps: 0, count: 0 });
            OpId(u16::try_from(self.accounts.len() - 1).expect("few operations"))
        })
    }

    /// Charges `count` operations: counts them and returns their CPU time, at most [`MOST_AT_ONCE_PS`].
    #[inline]
    pub fn charge(&mut self, op: OpId, count: u64) -> Picos {
        let account = &mut self.accounts[op.0 as usize];
        account.count = account.count.saturating_add(count);
        account.unit_ps.saturating_mul(count).min(MOST_AT_ONCE_PS)
    }

    /// What one operation costs, without counting it.
    #[inline]
    #[must_use]
    pub fn unit_ps(&self, op: OpId) -> Picos {
        self.accounts[op.0 as usize].unit_ps
    }

    /// How often an operation has run.
    #[must_use]
    pub fn count(&self, op: OpId) -> u64 {
        self.accounts[op.0 as usize].count
    }

    /// Takes over the profile of a meter that was built from the inputs, after a restore.
    pub fn keep_profile_of(&mut self, built: Self) {
        self.profile = built.profile;
    }

    /// Every account, in order of registration.
    #[must_use]
    pub fn accounts(&self) -> &[Charged] {
        &self.accounts
    }

    /// The profile that the unit costs come from.
    #[must_use]
    pub const fn profile(&self) -> &CostProfile {
        &self.profile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_and_counts() {
        let profile = CostProfile::parse(
            "apiVersion: podpace/v1\nkind: CostProfile\nname: t\ncomponent: test\nversion: \"1\"\ncosts:\n  visit: {value: 2.5us, source: here}\n",
            "t.yaml",
        )
        .unwrap();
        let mut meter = Meter::new(profile);
        let visit = meter.operation("visit").unwrap();
        assert_eq!(meter.charge(visit, 4), 10_000_000);
        assert_eq!(meter.charge(visit, 1), 2_500_000);
        assert_eq!(meter.count(visit), 5);
        assert_eq!(meter.accounts()[0].total_ps(), 12_500_000);
        assert!(meter.operation("absent").unwrap_err().to_string().contains("no cost `absent`"));
    }
}
