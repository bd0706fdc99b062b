//! Cost profiles: the unit costs of one implementation and version, each with its provenance.
//!
//! A profile is a small YAML file (`models/NAME.yaml`). Every constant says who measured it, where and how
//! uncertain it is; a constant without a source is refused. `time` values are durations as Go writes them with
//! a decimal fraction down to picoseconds (`2.75us`, `41.2ns`); `parameters` are plain integers (limits, seats).
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::{self, DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Picos;

/// A unit cost and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Value in picoseconds.
    pub value_ps: Picos,
    /// Lower and upper end of the 90 % interval in picoseconds, where known.
    pub interval_ps: Option<(Picos, Picos)>,
    /// How many measured runs it was fitted to, where it was.
    pub runs: Option<u64>,
    /// Median absolute error of the fitted CPU seconds in those runs, in parts per million, where it was fitted.
    pub residual_ppm: Option<u64>,
    /// Paper, file of the real system, or how it was fitted.
    pub source: String,
}

/// An integer parameter of an implementation (a limit, a default) and where it is from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// The value; its unit is in the parameter's name.
    pub value: u64,
    /// Where it is from.
    pub source: String,
}

/// The unit costs of one implementation and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostProfile {
    /// Name, as scenarios give it: `kube-scheduler-1.36`.
    pub name: String,
    /// The component: `kube-scheduler`, `yunikorn`, `apiserver`, `etcd`, ..
    pub component: String,
    /// Version of the real implementation.
    pub version: String,
    /// One paragraph: what was measured and where.
    pub description: String,
    costs: BTreeMap<String, Cost>,
    parameters: BTreeMap<String, Parameter>,
    calibrated: BTreeMap<String, (u64, u64)>,
    /// Why its costs are estimates, if they were not fitted to measured runs of the implementation.
    pub estimated: Option<String>,
    free: bool,
}

/// Conditions whose calibrated range a profile may state.
pub const RANGES: [&str; 5] = ["nodes", "pods", "qps", "apps", "cores"];

/// A profile can't be read or lacks something.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ProfileError {
    #[error("{file}: can't read the cost profile: {source}")]
    Io { file: String, source: std::io::Error },
    #[error("{file}: {message}")]
    Syntax { file: String, message: String },
    #[error(
        "profile `{profile}` has no cost `{name}`; it has: {known}. Add it to models/{profile}.yaml with its source, or name another profile"
    )]
    NoCost { profile: String, name: String, known: String },
    #[error("profile `{profile}` has no parameter `{name}`; add it to models/{profile}.yaml with its source")]
    NoParameter { profile: String, name: String },
    #[error("there is no cost profile `{name}`{hint}; `podpace models` lists what there is")]
    Unknown { name: String, hint: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawProfile {
    api_version: String,
    kind: String,
    name: String,
    component: String,
    version: String,
    #[serde(default)]
    description: String,
    #[serde(default, deserialize_with = "unique")]
    calibrated: BTreeMap<String, [u64; 2]>,
    #[serde(default)]
    estimated: Option<String>,
    #[serde(default, deserialize_with = "unique")]
    costs: BTreeMap<String, RawCost>,
    #[serde(default, deserialize_with = "unique")]
    parameters: BTreeMap<String, Parameter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCost {
    value: String,
    #[serde(default)]
    low: Option<String>,
    #[serde(default)]
    high: Option<String>,
    #[serde(default)]
    n: Option<u64>,
    #[serde(default)]
    residual: Option<String>,
    source: String,
}

/// A map in which a key that stands there twice is an error, on the line of the second.
fn unique<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, V>, D::Error> {
    struct Key<'a, V>(&'a BTreeMap<String, V>);

    impl<'de, V> DeserializeSeed<'de> for Key<'_, V> {
        type Value = String;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
            deserializer.deserialize_str(self)
        }
    }

    impl<V> Visitor<'_> for Key<'_, V> {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a name")
        }

        fn visit_str<E: de::Error>(self, key: &str) -> Result<String, E> {
            if self.0.contains_key(key) {
                return Err(E::custom(format!("`{key}` is given twice: leave one out")));
            }
            Ok(key.to_owned())
        }
    }

    struct Unique<V>(PhantomData<V>);

    impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some(key) = entries.next_key_seed(Key(&map))? {
                let value = entries.next_value()?;
                map.insert(key, value);
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Unique(PhantomData))
}

/// Parses `8.1%` into parts per million.
fn parse_percent(text: &str) -> Result<u64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match percent.filter(|p| p.is_finite() && *p >= 0.0) {
        Some(percent) => Ok(libm::round(percent * 1e4) as u64),
        None => Err(format!("`{text}` is not a percentage such as 8.1%")),
    }
}

/// Parses `2.75us` into picoseconds. Units: ps, ns, us, ms, s.
fn parse_picos(text: &str) -> Result<Picos, String> {
    let bad = || {
        format!("`{text}` is not a duration: expected a number and a unit, such as 2.75us, 41.2ns or 0.5ms")
    };
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(split);
    let scale: u64 = match unit {
        "ps" => 1,
        "ns" => 1_000,
        "us" => 1_000_000,
        "ms" => 1_000_000_000,
        "s" => 1_000_000_000_000,
        _ => return Err(bad()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty()
        || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
        || fraction.len() > 12
    {
        return Err(bad());
    }
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let mut value = whole.checked_mul(scale).ok_or_else(bad)?;
    if !fraction.is_empty() {
        let digits: u128 = fraction.parse().map_err(|_| bad())?;
        let ten = 10u128.pow(u32::try_from(fraction.len()).expect("at most 12"));
        value += u64::try_from(digits * u128::from(scale) / ten).map_err(|_| bad())?;
    }
    Ok(value)
}

/// Picoseconds as a duration in the largest unit that leaves at most three digits before the point, exactly.
fn picos_text(ps: Picos) -> String {
    let (unit, scale): (&str, u64) = match ps {
        0 => return "0ns".to_owned(),
        1..1_000 => ("ps", 1),
        1_000..1_000_000 => ("ns", 1_000),
        1_000_000..1_000_000_000 => ("us", 1_000_000),
        1_000_000_000..1_000_000_000_000 => ("ms", 1_000_000_000),
        _ => ("s", 1_000_000_000_000),
    };
    let (whole, rest) = (ps / scale, ps % scale);
    if rest == 0 {
        return format!("{whole}{unit}");
    }
    let digits = scale.ilog10() as usize;
    let fraction = format!("{rest:0digits$}");
    format!("{whole}.{}{unit}", fraction.trim_end_matches('0'))
}

impl CostProfile {
    /// A profile in which every cost is zero and every parameter absent.
    #[must_use]
    pub fn free(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            component: String::new(),
            version: String::new(),
            description: "costs nothing".to_owned(),
            costs: BTreeMap::new(),
            parameters: BTreeMap::new(),
            calibrated: BTreeMap::new(),
            estimated: None,
            free: true,
        }
    }

    /// Parses a profile; `file` is its name for messages.
    ///
    /// # Errors
    /// Not YAML, unknown keys, a value that is no duration, a constant without a source.
    pub fn parse(text: &str, file: &str) -> Result<Self, ProfileError> {
        let syntax = |message: String| ProfileError::Syntax { file: file.to_owned(), message };
        let raw: RawProfile = serde_yaml::from_str(text).map_err(|e| syntax(e.to_string()))?;
        if raw.api_version != "podpace/v1" || raw.kind != "CostProfile" {
            return Err(syntax(format!(
                "apiVersion `{}` and kind `{}`: expected podpace/v1 and CostProfile",
                raw.api_version, raw.kind
            )));
        }
        let mut costs = BTreeMap::new();
        for (name, cost) in raw.costs {
            let at = |field: &str, value: &str| {
                parse_picos(value).map_err(|m| syntax(format!("costs.{name}.{field}: {m}")))
            };
            if cost.source.trim().is_empty() {
                return Err(syntax(format!("costs.{name}.source is empty: say who measured it and where")));
            }
            let interval_ps = match (&cost.low, &cost.high) {
                (Some(low), Some(high)) => Some((at("low", low)?, at("high", high)?)),
                (None, None) => None,
                _ => return Err(syntax(format!("costs.{name}: low and high go together"))),
            };
            let value_ps = at("value", &cost.value)?;
            if let Some((low, high)) = interval_ps
                && !(low <= value_ps && value_ps <= high)
            {
                return Err(syntax(format!("costs.{name}: expected low <= value <= high")));
            }
            let residual_ppm = match &cost.residual {
                Some(text) => {
                    Some(parse_percent(text).map_err(|m| syntax(format!("costs.{name}.residual: {m}")))?)
                }
                None => None,
            };
            costs.insert(
                name,
                Cost { value_ps, interval_ps, runs: cost.n, residual_ppm, source: cost.source },
            );
        }
        let mut calibrated = BTreeMap::new();
        for (name, [from, to]) in raw.calibrated {
            if !RANGES.contains(&name.as_str()) || from > to {
                let known = RANGES.join(", ");
                return Err(syntax(format!(
                    "calibrated.{name}: [{from}, {to}]: expected one of {known} with [smallest, largest]"
                )));
            }
            calibrated.insert(name, (from, to));
        }
        Ok(Self {
            name: raw.name,
            component: raw.component,
            version: raw.version,
            description: raw.description,
            costs,
            parameters: raw.parameters,
            calibrated,
            estimated: raw.estimated,
            free: false,
        })
    }

    /// Cost of one operation in picoseconds.
    ///
    /// # Errors
    /// The profile has no such cost.
    pub fn cost_ps(&self, name: &str) -> Result<Picos, ProfileError> {
        if self.free {
            return Ok(0);
        }
        self.costs.get(name).map(|c| c.value_ps).ok_or_else(|| ProfileError::NoCost {
            profile: self.name.clone(),
            name: name.to_owned(),
            known: self.costs.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Cost of one operation in nanoseconds, for delays that are no CPU work.
    ///
    /// # Errors
    /// The profile has no such cost.
    pub fn delay_ns(&self, name: &str) -> Result<u64, ProfileError> {
        Ok(super::picos_to_nanos(self.cost_ps(name)?))
    }

    /// An integer parameter.
    ///
    /// # Errors
    /// The profile has no such parameter.
    pub fn parameter(&self, name: &str) -> Result<u64, ProfileError> {
        self.parameters
            .get(name)
            .map(|p| p.value)
            .ok_or_else(|| ProfileError::NoParameter { profile: self.name.clone(), name: name.to_owned() })
    }

    /// Every cost by name.
    pub fn costs(&self) -> impl Iterator<Item = (&str, &Cost)> {
        self.costs.iter().map(|(name, cost)| (name.as_str(), cost))
    }

    /// Every parameter by name.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.parameters.iter().map(|(name, parameter)| (name.as_str(), parameter))
    }

    /// The ranges of conditions (see [`RANGES`]) in which the constants were fitted, where known.
    pub fn calibrated(&self) -> impl Iterator<Item = (&str, (u64, u64))> {
        self.calibrated.iter().map(|(name, range)| (name.as_str(), *range))
    }

    /// States the range of a condition in which the constants were fitted.
    pub fn set_calibrated(&mut self, name: &str, range: (u64, u64)) {
        self.calibrated.insert(name.to_owned(), range);
    }

    /// Replaces a cost, for calibration and for what-if questions.
    pub fn set_cost_ps(&mut self, name: &str, value_ps: Picos) {
        if let Some(cost) = self.costs.get_mut(name) {
            cost.value_ps = value_ps;
        }
    }

    /// Replaces a cost with its interval, the number of runs it was fitted to and its source.
    pub fn set_cost(&mut self, name: &str, cost: Cost) {
        self.costs.insert(name.to_owned(), cost);
    }

    /// The profile as a file that [`parse`](Self::parse) reads back as the same profile.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        // A JSON string is a double-quoted YAML scalar.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut text = format!(
            "apiVersion: podpace/v1\nkind: CostProfile\nname: {}\ncomponent: {}\nversion: {}\ndescription: {}\n",
            self.name,
            self.component,
            quoted(&self.version),
            quoted(self.description.trim())
        );
        if let Some(estimated) = &self.estimated {
            text += &format!("estimated: {}\n", quoted(estimated));
        }
        if !self.calibrated.is_empty() {
            text += "calibrated:\n";
            for (name, (from, to)) in &self.calibrated {
                text += &format!("  {name}: [{from}, {to}]\n");
            }
        }
        text += "costs:\n";
        for (name, cost) in &self.costs {
            text += &format!("  {name}: {{value: {}", picos_text(cost.value_ps));
            if let Some((low, high)) = cost.interval_ps {
                text += &format!(", low: {}, high: {}", picos_text(low), picos_text(high));
            }
            if let Some(n) = cost.runs {
                text += &format!(", n: {n}");
            }
            if let Some(ppm) = cost.residual_ppm {
                text += &format!(", residual: {}%", ppm as f64 / 1e4);
            }
            text += &format!(", source: {}}}\n", quoted(cost.source.trim()));
        }
        if !self.parameters.is_empty() {
            text += "parameters:\n";
            for (name, parameter) in &self.parameters {
                let source = quoted(parameter.source.trim());
                text += &format!("  {name}: {{value: {}, source: {source}}}\n", parameter.value);
            }
        }
        text
    }
}

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        const BUILT_IN: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../models/", $name, ".yaml")))),*];
    };
}

built_in!(
    "apiserver-1.20",
    "apiserver-1.36",
    "client-go",
    "etcd-3.4",
    "etcd-3.6",
    "first-fit",
    "kube-controller-manager-1.36",
    "kube-scheduler-1.20",
    "kube-scheduler-1.36",
    "kueue-0.19",
    "kwok-0.7",
    "machine-2-core",
    "volcano-1.15",
    "yunikorn-1.8",
    "yunikorn-2020",
    "yunikorn-2021-11",
);

/// Where profiles are found: a folder first, if given, then those built into the binary.
#[derive(Clone, Debug, Default)]
pub struct ProfileLibrary {
    folder: Option<PathBuf>,
}

impl ProfileLibrary {
    /// The built-in profiles only.
    #[must_use]
    pub const fn built_in() -> Self {
        Self { folder: None }
    }

    /// A folder of `NAME.yaml` files that go before the built-in ones.
    #[must_use]
    pub fn with_folder(folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()) }
    }

    /// Names of all profiles, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect();
        if let Some(entries) = self.folder.as_ref().and_then(|f| std::fs::read_dir(f).ok()) {
            for entry in entries.flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|e| e == "yaml")
                    && let Some(stem) = path.file_stem().and_then(|s| s.to_str())
                {
                    names.push(stem.to_owned());
                }
            }
        }
        names.sort();
        names.dedup();
        names
    }

    /// Finds a profile by name.
    ///
    /// # Errors
    /// No such profile, or it can't be read.
    pub fn load(&self, name: &str) -> Result<CostProfile, ProfileError> {
        if let Some(folder) = &self.folder {
            let path = folder.join(format!("{name}.yaml"));
            if path.is_file() {
                let file = path.display().to_string();
                let text = std::fs::read_to_string(&path)
                    .map_err(|source| ProfileError::Io { file: file.clone(), source })?;
                return CostProfile::parse(&text, &file);
            }
        }
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => CostProfile::parse(text, &format!("models/{name}.yaml")),
            None => {
                let stem = name.split('-').next().unwrap_or(name);
                let near: Vec<String> = self.names().into_iter().filter(|n| n.starts_with(stem)).collect();
                let hint =
                    if near.is_empty() { String::new() } else { format!(" (there is: {})", near.join(", ")) };
                Err(ProfileError::Unknown { name: name.to_owned(), hint })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_down_to_picoseconds() {
        assert_eq!(parse_picos("2.75us"), Ok(2_750_000));
        assert_eq!(parse_picos("41.25ns"), Ok(41_250));
        assert_eq!(parse_picos("0.5ms"), Ok(500_000_000));
        assert_eq!(parse_picos("1s"), Ok(1_000_000_000_000));
        for bad in ["", "5", "ms", "-1ms", "1.2.3ms", "1 ms", "1h", "99999999999999999999s"] {
            assert!(parse_picos(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_built_in_profile_parses_and_bears_its_name() {
        let library = ProfileLibrary::built_in();
        for name in library.names() {
            let profile = library.load(&name).unwrap();
            assert_eq!(profile.name, name);
        }
    }

    #[test]
    fn a_profile_survives_being_written() {
        let library = ProfileLibrary::built_in();
        for name in library.names() {
            let profile = library.load(&name).unwrap();
            let again = CostProfile::parse(&profile.to_yaml(), "again.yaml").unwrap();
            let trimmed = |p: &CostProfile| (p.costs.clone(), p.parameters.len(), p.calibrated.clone());
            let plain = |(mut costs, n, calibrated): (BTreeMap<String, Cost>, usize, BTreeMap<_, _>)| {
                costs.values_mut().for_each(|c| c.source = c.source.trim().to_owned());
                (costs, n, calibrated)
            };
            assert_eq!(plain(trimmed(&profile)), plain(trimmed(&again)), "{name}");
        }
        let text = "apiVersion: podpace/v1\nkind: CostProfile\nname: t\ncomponent: test\nversion: \"1\"\ncosts:\n  \
                    a: {value: 2us, low: 1us, high: 8us, n: 7, residual: 8.1%, source: here}\n";
        let fitted = CostProfile::parse(text, "t.yaml").unwrap();
        assert_eq!(
            fitted.costs().next().map(|(_, c)| (c.runs, c.residual_ppm)),
            Some((Some(7), Some(81_000)))
        );
        assert_eq!(CostProfile::parse(&fitted.to_yaml(), "t.yaml").unwrap(), fitted);
        assert!(
            CostProfile::parse(&text.replace("8.1%", "8.1"), "t.yaml")
                .unwrap_err()
                .to_string()
                .contains("percentage")
        );
        assert_eq!(picos_text(2_750_000), "2.75us");
        assert_eq!(picos_text(1_000_000_000_000), "1s");
    }

    #[test]
    fn a_name_that_is_given_twice_is_an_error_with_its_line() {
        let head = "apiVersion: podpace/v1\nkind: CostProfile\nname: t\ncomponent: test\nversion: \"1\"\n";
        for (body, says) in [
            (
                "costs:\n  a: {value: 2us, source: here}\n  a: {value: 3us, source: there}\n",
                "line 8 column 3",
            ),
            (
                "parameters:\n  p: {value: 2, source: a}\n  q: {value: 2, source: a}\n  p: {value: 3, source: b}\n",
                "line 9 column 3",
            ),
            ("calibrated: {nodes: [1, 2], nodes: [1, 3]}\n", "line 6 column 29"),
        ] {
            let error = CostProfile::parse(&format!("{head}{body}"), "t.yaml").unwrap_err().to_string();
            assert!(error.starts_with("t.yaml: ") && error.contains("is given twice"), "{error}");
            assert!(error.contains(says), "{error}");
        }
        let text = format!("{head}costs:\nparameters:\n");
        assert_eq!(CostProfile::parse(&text, "t.yaml").unwrap().costs().count(), 0);
    }

    #[test]
    fn an_unknown_profile_names_its_neighbours() {
        let error = ProfileLibrary::built_in().load("yunikorn-9").unwrap_err().to_string();
        assert!(error.contains("yunikorn-1.8"), "{error}");
    }
}
