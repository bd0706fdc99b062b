//! LimitRanges among manifests: what the API server makes of a pod's containers when it is created, and which pods it refuses.
//!
//! **Defaults.** A limit without a request is a request. Then each container, init containers too, gets the limits (`default`)
//! and requests (`defaultRequest`) of its namespace's LimitRanges that it does not have itself; where a LimitRange leaves them
//! out, `default` is its `max`, and `defaultRequest` its `default` or else its `min`. A request above its limit is refused then,
//! as by any validation of a pod.
//!
//! **Constraints.** `min`, `max` and `maxLimitRequestRatio` of type Container go for each container, of type Pod for what all
//! containers ask for, init containers and sidecars as the scheduler counts them. A pod that breaks one is an error in the API
//! server's words.
//!
//! LimitRanges are there before all pods of the input, in whatever order the files have them. A pod that exists already (it has a
//! `creationTimestamp`) has been through this: nothing is done to it.
//!
//! Source: k/k `plugin/pkg/admission/limitranger/admission.go`, `SetDefaults_LimitRangeItem`, `ValidateLimitRange`.
//!
//! Left out, and refused by name: type PersistentVolumeClaim, two LimitRanges that give different defaults (which one wins is
//! not defined), pods with resources of their own (`spec.resources`) in a namespace with a LimitRange.
//!
//! Cost: O(containers x resources) a pod of a namespace that has one.
use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::TraceError;
use super::kubernetes::{self as k8s, Place};
use crate::trace::error::Problem;
use crate::trace::number;

/// A quantity, in thousandths, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Amount {
    milli: u64,
    binary: bool,
}

impl Amount {
    fn parse(value: &Value, field: &str, place: &Place) -> Result<Self, TraceError> {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let milli = number::quantity(&text, 1000).map_err(|_| {
            place.error(
                Problem::NotANumber,
                field,
                &text,
                "a quantity such as 100m, 2 or 512Mi, of at most 16P; correct it",
            )
        })?;
        Ok(Self { milli, binary: text.trim_end().ends_with('i') })
    }
}

/// As `Quantity.String()` has it.
impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let milli = self.milli;
        let in_units = |unit: u64| {
            unit.checked_mul(1000).filter(|unit| milli.is_multiple_of(*unit)).map(|unit| milli / unit)
        };
        let binary: [(u64, &str); 5] =
            [(1 << 50, "Pi"), (1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
        let decimal: [(u64, &str); 6] = [
            (1_000_000_000_000_000, "P"),
            (1_000_000_000_000, "T"),
            (1_000_000_000, "G"),
            (1_000_000, "M"),
            (1000, "k"),
            (1, ""),
        ];
        let suffixes: &[(u64, &str)] = if self.binary { &binary } else { &decimal };
        if milli == 0 {
            return f.write_str("0");
        }
        match suffixes.iter().find_map(|(unit, suffix)| Some((in_units(*unit)?, suffix))) {
            Some((number, suffix)) => write!(f, "{number}{suffix}"),
            None => match in_units(1) {
                Some(number) => write!(f, "{number}"),
                None => write!(f, "{milli}m"),
            },
        }
    }
}

type Amounts = BTreeMap<String, Amount>;

fn amounts(list: Option<&Value>, field: &str, place: &Place) -> Result<Amounts, TraceError> {
    match list {
        None | Some(Value::Null) => Ok(Amounts::new()),
        Some(Value::Object(list)) => list
            .iter()
            .map(|(name, value)| Ok((name.clone(), Amount::parse(value, &format!("{field}.{name}"), place)?)))
            .collect(),
        Some(other) => Err(place.error(
            Problem::BadSyntax,
            field,
            &other.to_string(),
            "quantities by resource; correct it",
        )),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Container,
    Pod,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Container => "Container",
            Self::Pod => "Pod",
        }
    }
}

/// An entry of `spec.limits`, with the defaults that the API server gives it.
#[derive(Clone, Debug)]
struct Item {
    of: Type,
    min: Amounts,
    max: Amounts,
    default: Amounts,
    default_request: Amounts,
    ratio: Amounts,
}

/// The LimitRanges of an input, by namespace.
#[derive(Default)]
pub struct LimitRanges(BTreeMap<String, Vec<Vec<Item>>>);

const FIELDS: [&str; 6] = ["type", "min", "max", "default", "defaultRequest", "maxLimitRequestRatio"];

impl Item {
    fn read(value: &Value, path: &str, place: &Place) -> Result<Self, TraceError> {
        let refused = |field: &str, value: &str, why: String| {
            Err(place.error(Problem::Forbidden, &format!("{path}.{field}"), value, why))
        };
        for (key, _) in value.as_object().into_iter().flatten() {
            if !FIELDS.contains(&key.as_str()) {
                let known = FIELDS.join(", ");
                return refused(key, "", format!("not a field of a LimitRange's limits; there are {known}"));
            }
        }
        let of = match k8s::text(value, "/type") {
            "Container" => Type::Container,
            "Pod" => Type::Pod,
            "PersistentVolumeClaim" => {
                let why = "LimitRanges of claims are not modelled; leave the entry out: claims ask for no node's resources";
                return refused("type", "PersistentVolumeClaim", why.to_owned());
            }
            other => return refused("type", other, "expected Container or Pod; correct it".to_owned()),
        };
        let list = |key: &str| amounts(value.get(key), &format!("{path}.{key}"), place);
        let (min, max, ratio) = (list("min")?, list("max")?, list("maxLimitRequestRatio")?);
        let (mut default, mut default_request) = (list("default")?, list("defaultRequest")?);
        if of == Type::Pod {
            for (key, list) in [("default", &default), ("defaultRequest", &default_request)] {
                if !list.is_empty() {
                    let why = "the API server refuses this: may not be specified when `type` is 'Pod'; use type Container";
                    return refused(key, "", why.to_owned());
                }
            }
        }
        let orders = [
            ("min", &min, "max", &max),
            ("min", &min, "defaultRequest", &default_request),
            ("defaultRequest", &default_request, "max", &max),
            ("defaultRequest", &default_request, "default", &default),
            ("min", &min, "default", &default),
            ("default", &default, "max", &max),
        ];
        for (low, small, high, large) in orders {
            // The server's words for `defaultRequest`, and for `default` where that is compared with it.
            let words =
                |field: &'static str| if field == "defaultRequest" { "default request" } else { field };
            let limit = if (low, high) == ("defaultRequest", "default") { " limit" } else { "" };
            for (name, amount) in small {
                if let Some(other) = large.get(name).filter(|other| amount.milli > other.milli) {
                    let why = format!(
                        "the API server refuses this: {} value {amount} is greater than {}{limit} value {other}; correct one",
                        words(low),
                        words(high)
                    );
                    return refused(&format!("{low}.{name}"), &amount.to_string(), why);
                }
            }
        }
        if let Some((name, amount)) = ratio.iter().find(|(_, amount)| amount.milli < 1000) {
            let why = format!("the API server refuses this: ratio {amount} is less than 1; correct it");
            return refused(&format!("maxLimitRequestRatio.{name}"), &amount.to_string(), why);
        }
        for (name, amount) in &ratio {
            let (Some(least), Some(most)) = (min.get(name).map(|a| a.milli), max.get(name).map(|a| a.milli))
            else {
                continue;
            };
            let (least, most) = (u128::from(least), u128::from(most));
            if least > 0 && u128::from(amount.milli) * least > most * 1000 {
                let micro = most * 1_000_000 / least;
                let (whole, rest) = (micro / 1_000_000, micro % 1_000_000);
                let why = format!(
                    "the API server refuses this: ratio {amount} is greater than max/min = {whole}.{rest:06}; correct one"
                );
                return refused(&format!("maxLimitRequestRatio.{name}"), &amount.to_string(), why);
            }
        }
        if of == Type::Container {
            let fill = |to: &mut Amounts, from: &Amounts| {
                for (name, amount) in from {
                    to.entry(name.clone()).or_insert(*amount);
                }
            };
            fill(&mut default, &max);
            fill(&mut default_request, &default);
            fill(&mut default_request, &min);
        }
        Ok(Self { of, min, max, default, default_request, ratio })
    }
}

impl LimitRanges {
    /// Reads a LimitRange.
    ///
    /// # Errors
    /// What the API server would refuse, and what is not modelled, with its field.
    pub fn add(&mut self, object: &Value, place: &Place) -> Result<(), TraceError> {
        let namespace = k8s::namespace(object);
        let items = object.pointer("/spec/limits").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut read: Vec<Item> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let path = format!("spec.limits[{at}]");
            let item = Item::read(item, &path, place)?;
            if read.iter().any(|other| other.of == item.of) {
                let why = "the API server refuses this: Duplicate value; write one entry a type";
                return Err(place.error(Problem::Forbidden, &format!("{path}.type"), item.of.name(), why));
            }
            for other in self.0.get(namespace).into_iter().flatten().flatten() {
                for (mine, theirs) in
                    [(&item.default, &other.default), (&item.default_request, &other.default_request)]
                {
                    if let Some((name, amount)) = mine.iter().find(|(name, amount)| {
                        theirs.get(*name).is_some_and(|other| other.milli != amount.milli)
                    }) {
                        let why = format!(
                            "another LimitRange of namespace {namespace} gives another default of {name}, and which one wins is not defined; leave one out"
                        );
                        return Err(place.error(Problem::Forbidden, &path, &amount.to_string(), why));
                    }
                }
            }
            read.push(item);
        }
        self.0.entry(namespace.to_owned()).or_default().push(read);
        Ok(())
    }

    /// What the API server makes of the spec of a pod that is created in a namespace. `name`: what it calls the pod.
    ///
    /// # Errors
    /// It refuses the pod.
    pub fn admit(
        &self,
        namespace: &str,
        name: &str,
        spec: &mut Value,
        place: &Place,
    ) -> Result<(), TraceError> {
        let Some(ranges) = self.0.get(namespace) else { return Ok(()) };
        if spec.pointer("/resources").is_some_and(|own| !own.is_null()) {
            let why =
                "not modelled: a pod's own resources where a LimitRange is; give them to its containers";
            return Err(place.error(Problem::Forbidden, "spec.resources", "", why));
        }
        let mut containers: Vec<Container> = Vec::new();
        for list in ["containers", "initContainers"] {
            let Some(Value::Array(given)) = spec.get_mut(list) else { continue };
            for (at, value) in given.iter_mut().enumerate() {
                let path = format!("spec.{list}[{at}].resources");
                containers.push(Container::fill(value, ranges, (path, list == "initContainers"), place)?);
            }
        }
        for container in &containers {
            let above = |(name, asked): &(&String, &Amount)| {
                container.limits.get(*name).is_some_and(|limit| asked.milli > limit.milli)
            };
            if let Some((resource, asked)) = container.requests.iter().find(above) {
                let why = format!(
                    "the API server refuses this: Pod \"{name}\" is invalid: must be less than or equal to {resource} limit of {}; \
                     lower it, or give the container a limit",
                    container.limits[resource]
                );
                let field = format!("{}.requests.{resource}", container.path);
                return Err(place.error(Problem::Forbidden, &field, &asked.to_string(), why));
            }
        }
        let (requests, limits) = (total(&containers, |c| &c.requests), total(&containers, |c| &c.limits));
        for item in ranges.iter().flatten() {
            let result = match item.of {
                Type::Pod => item.check(&requests, &limits).map_err(|why| ("spec".to_owned(), why)),
                Type::Container => containers.iter().try_for_each(|c| {
                    item.check(&c.requests, &c.limits).map_err(|why| (c.path.clone(), why))
                }),
            };
            if let Err((field, why)) = result {
                let why = format!(
                    "the API server refuses this: pods \"{name}\" is forbidden: {why}; correct the pod, or leave the LimitRange out"
                );
                return Err(place.error(Problem::Forbidden, &field, "", why));
            }
        }
        Ok(())
    }
}

/// A container with its defaults.
struct Container {
    path: String,
    is_init: bool,
    is_sidecar: bool,
    requests: Amounts,
    limits: Amounts,
}

impl Container {
    /// Reads one, and writes what it gets into it.
    fn fill(
        value: &mut Value,
        ranges: &[Vec<Item>],
        (path, is_init): (String, bool),
        place: &Place,
    ) -> Result<Self, TraceError> {
        let is_sidecar = is_init && k8s::text(value, "/restartPolicy") == "Always";
        let list =
            |key: &str| amounts(value.pointer(&format!("/resources/{key}")), &format!("{path}.{key}"), place);
        let (mut requests, mut limits) = (list("requests")?, list("limits")?);
        for (name, amount) in &limits {
            requests.entry(name.clone()).or_insert(*amount);
        }
        for item in ranges.iter().flatten() {
            for (to, from) in [(&mut limits, &item.default), (&mut requests, &item.default_request)] {
                for (name, amount) in from {
                    to.entry(name.clone()).or_insert(*amount);
                }
            }
        }
        let written = |of: &Amounts| -> Value {
            of.iter()
                .map(|(name, amount)| (name.clone(), Value::from(amount.to_string())))
                .collect::<Map<_, _>>()
                .into()
        };
        if let Value::Object(container) = value {
            let resources = container.entry("resources").or_insert_with(|| Map::new().into());
            if !resources.is_object() {
                *resources = Map::new().into();
            }
            resources["requests"] = written(&requests);
            resources["limits"] = written(&limits);
        }
        Ok(Self { path, is_init, is_sidecar, requests, limits })
    }
}

/// What all containers of a pod come to; sidecars run beside the others and before later init containers.
fn total(containers: &[Container], of: impl Fn(&Container) -> &Amounts) -> Amounts {
    let mut sum = Amounts::new();
    let mut most = Amounts::new();
    let mut sidecars = Amounts::new();
    let add = |to: &mut Amounts, from: &Amounts| {
        for (name, amount) in from {
            let slot = to.entry(name.clone()).or_insert(Amount { milli: 0, binary: amount.binary });
            slot.milli = slot.milli.saturating_add(amount.milli);
        }
    };
    let raise = |to: &mut Amounts, from: &Amounts| {
        for (name, amount) in from {
            let slot = to.entry(name.clone()).or_insert(*amount);
            if slot.milli.cmp(&amount.milli) == Ordering::Less {
                *slot = *amount;
            }
        }
    };
    for container in containers {
        let own = of(container);
        if !container.is_init || container.is_sidecar {
            add(&mut sum, own);
        }
        if container.is_sidecar {
            add(&mut sidecars, own);
            raise(&mut most, &sidecars);
        } else if container.is_init {
            let mut beside = sidecars.clone();
            add(&mut beside, own);
            raise(&mut most, &beside);
        }
    }
    raise(&mut sum, &most);
    sum
}

impl Item {
    /// Why the API server refuses what asks for so much, in its words.
    fn check(&self, requests: &Amounts, limits: &Amounts) -> Result<(), String> {
        let kind = self.of.name();
        for (name, least) in &self.min {
            let what = format!("minimum {name} usage per {kind} is {least}");
            match (requests.get(name), limits.get(name)) {
                (None, _) => return Err(format!("{what}.  No request is specified")),
                (Some(asked), _) if asked.milli < least.milli => {
                    return Err(format!("{what}, but request is {asked}"));
                }
                (_, Some(limit)) if limit.milli < least.milli => {
                    return Err(format!("{what}, but limit is {limit}"));
                }
                _ => {}
            }
        }
        for (name, most) in &self.max {
            let what = format!("maximum {name} usage per {kind} is {most}");
            match (requests.get(name), limits.get(name)) {
                (_, None) => return Err(format!("{what}.  No limit is specified")),
                (_, Some(limit)) if limit.milli > most.milli => {
                    return Err(format!("{what}, but limit is {limit}"));
                }
                (Some(asked), _) if asked.milli > most.milli => {
                    return Err(format!("{what}, but request is {asked}"));
                }
                _ => {}
            }
        }
        for (name, ratio) in &self.ratio {
            let what = format!("{name} max limit to request ratio per {kind} is {ratio}");
            let given = |of: &Amounts| of.get(name).map(|amount| amount.milli).filter(|milli| *milli > 0);
            let Some(asked) = given(requests) else {
                return Err(format!("{what}, but no request is specified or request is 0"));
            };
            let Some(limit) = given(limits) else {
                return Err(format!("{what}, but no limit is specified or limit is 0"));
            };
            if u128::from(limit) * 1000 > u128::from(ratio.milli) * u128::from(asked) {
                // Six decimals, rounded, as `%f`.
                let millionths = (u128::from(limit) * 1_000_000 + u128::from(asked) / 2) / u128::from(asked);
                let (whole, rest) = (millionths / 1_000_000, millionths % 1_000_000);
                return Err(format!("{what}, but provided ratio is {whole}.{rest:06}"));
            }
        }
        Ok(())
    }
}
