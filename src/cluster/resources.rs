//! Resource vectors in integers: millicores, bytes, and counts of extended resources.
//!
//! CPU is milli (Kubernetes rounds finer requests up), memory bytes, extended resources whole units.

/// An amount of each resource. `pods` counts only on nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Resources {
    /// CPU in thousandths of a core.
    pub cpu_millicores: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// How many pods a node takes (nodes only).
    pub pods: u32,
    /// Extended resources as (id in [`ResourceNames`], whole units), sorted by id, no zeros.
    pub extended: Vec<(u16, u64)>,
}

impl Resources {
    /// Amount of one extended resource.
    #[must_use]
    pub fn extended(&self, id: u16) -> u64 {
        self.extended.iter().find(|(i, _)| *i == id).map_or(0, |(_, v)| *v)
    }

    /// Whether a request fits into this amount as if the node were empty (the pod count is not looked at).
    #[must_use]
    pub fn holds(&self, request: &Self) -> bool {
        request.cpu_millicores <= self.cpu_millicores
            && request.memory_bytes <= self.memory_bytes
            && request.extended.iter().all(|(id, v)| *v <= self.extended(*id))
    }
}

/// Interned names of extended resources (`nvidia.com/gpu`).
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct ResourceNames {
    names: Vec<String>,
}

impl ResourceNames {
    /// The id of a name, given on first sight.
    ///
    /// # Panics
    /// Past 65,535 distinct names; files are limited far below that.
    pub fn intern(&mut self, name: &str) -> u16 {
        let at = self.names.iter().position(|n| n == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        u16::try_from(at).expect("extended resources are few")
    }

    /// The name of an id.
    #[must_use]
    pub fn name(&self, id: u16) -> &str {
        &self.names[id as usize]
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
