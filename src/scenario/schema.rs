//! JSON Schemas of the files, for editors and for whoever generates scenarios.
//!
//! The schemas are derived from the types, so they can't drift. They describe shape and grammar; rules that compare
//! fields are only in `validate`.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::document::DocumentKind;
use super::spec::{ExperimentSpec, ScenarioSpec, StudySpec, SweepSpec};

/// The JSON Schema (draft 2020-12) of one kind of file.
pub fn schema(kind: DocumentKind) -> Value {
    let settings = || SchemaSettings::draft2020_12();
    let mut schema = match kind {
        DocumentKind::Scenario => {
            settings().into_generator().into_root_schema_for::<ScenarioSpec>().to_value()
        }
        DocumentKind::Experiment => {
            settings().into_generator().into_root_schema_for::<ExperimentSpec>().to_value()
        }
        DocumentKind::Sweep => settings().into_generator().into_root_schema_for::<SweepSpec>().to_value(),
        DocumentKind::MeasuredStudy => {
            settings().into_generator().into_root_schema_for::<StudySpec>().to_value()
        }
    };
    schema["properties"]["apiVersion"] = json!({"const": super::spec::API_VERSION});
    schema["properties"]["kind"] = json!({"const": format!("{kind:?}")});
    if matches!(kind, DocumentKind::Experiment | DocumentKind::Sweep) {
        inline_scenario(&mut schema);
    }
    schema
}

/// Gives the key `scenario` the schema of a scenario without apiVersion and kind, all fields optional because the runs
/// may set them.
fn inline_scenario(schema: &mut Value) {
    let mut inner = self::schema(DocumentKind::Scenario);
    let definitions = inner["$defs"].take();
    if let Value::Object(definitions) = definitions {
        for (name, definition) in definitions {
            schema["$defs"][name] = definition;
        }
    }
    if let Value::Object(inner) = &mut inner {
        for key in ["$schema", "$defs", "title", "required"] {
            inner.remove(key);
        }
        if let Some(Value::Object(properties)) = inner.get_mut("properties") {
            properties.remove("apiVersion");
            properties.remove("kind");
        }
    }
    schema["properties"]["scenario"] = inner;
}
