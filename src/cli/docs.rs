//! docs/cli.md from clap and docs/scenario.md from the JSON Schema, so that they can't drift.
use std::fmt::Write as _;

use clap::{Command, CommandFactory};
use serde_json::{Map, Value};

use super::args::Cli;
use crate::scenario::DocumentKind;
use crate::scenario::schema::schema;

/// The reference of the command line as Markdown: the help of every command.
#[must_use]
pub fn markdown() -> String {
    let mut text = "<!-- Generated from the command line's definition; do not edit. Update: \
                    UPDATE_DOCS=1 cargo test --test cli docs -->\n\n# Command line\n"
        .to_owned();
    let mut root = Cli::command().term_width(100);
    root.build();
    section(&mut root, &mut text);
    text
}

fn section(command: &mut Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    text.push_str(&format!(
        "\n## {name}\n\n```text\n{}\n```\n",
        command.render_long_help().to_string().trim_end()
    ));
    for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
        section(sub, text);
    }
}

/// The reference of scenarios, experiments and sweeps as Markdown: every field with its type and meaning.
#[must_use]
pub fn scenario_markdown() -> String {
    let mut text = "<!-- Generated from the JSON Schemas; do not edit. Update: UPDATE_DOCS=1 cargo test --test cli docs -->\n\n\
                    # Fields of a scenario\n\n\
                    Every field of scenarios, experiments, sweeps and measured studies; anything else in them is an error. \
                    A field in **bold** must be there. \
                    Quantities are written as Kubernetes writes them, durations as Go does. `podpace schema` prints the JSON Schema for an editor.\n"
        .to_owned();
    let mut seen = Vec::new();
    let kinds =
        [DocumentKind::Scenario, DocumentKind::Experiment, DocumentKind::Sweep, DocumentKind::MeasuredStudy];
    for kind in kinds {
        let schema = schema(kind);
        let _ = write!(text, "\n## {kind:?}\n");
        fields(&schema, &mut text);
        let definitions = schema["$defs"].as_object().cloned().unwrap_or_default();
        for (name, definition) in definitions {
            if seen.contains(&name) {
                continue;
            }
            let _ = write!(text, "\n### {name}\n");
            if definition["properties"].is_object() {
                fields(&definition, &mut text);
            } else {
                values(&definition, &mut text);
            }
            seen.push(name);
        }
    }
    text
}

fn description(schema: &Value, text: &mut String) {
    if let Some(description) = schema["description"].as_str() {
        let _ = write!(text, "\n{}\n", one_line(description));
    }
}

/// A description and what may be written: one of some words, or a form.
fn values(schema: &Value, text: &mut String) {
    description(schema, text);
    let words = schema["oneOf"].as_array().filter(|words| words.iter().all(|word| word["const"].is_string()));
    let Some(words) = words else {
        let _ = write!(text, "\nA value: {}.\n", type_of(schema));
        return;
    };
    text.push_str("\n| value | meaning |\n|---|---|\n");
    for word in words {
        let meaning = one_line(word["description"].as_str().unwrap_or_default()).replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {meaning} |", word["const"].as_str().unwrap_or_default());
    }
}

/// A description and a table of fields.
fn fields(schema: &Value, text: &mut String) {
    description(schema, text);
    let none = Map::new();
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    text.push_str("\n| field | type | meaning |\n|---|---|---|\n");
    for (name, field) in schema["properties"].as_object().unwrap_or(&none) {
        let shown =
            if required.contains(&name.as_str()) { format!("**`{name}`**") } else { format!("`{name}`") };
        let meaning = one_line(field["description"].as_str().unwrap_or_default()).replace('|', "\\|");
        let _ = writeln!(text, "| {shown} | {} | {meaning} |", type_of(field).replace('|', "\\|"));
    }
}

/// As one line; names in it are no links here.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("[`", "`").replace("`]", "`")
}

/// A type in words: a link to its table where it has one.
fn type_of(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        return format!("[{name}](#{})", name.to_lowercase());
    }
    for several in ["anyOf", "oneOf", "allOf"] {
        if let Some(types) = schema[several].as_array() {
            let types: Vec<String> = types.iter().map(type_of).filter(|t| t != "null").collect();
            return types.join(" or ");
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        return values
            .iter()
            .map(|v| format!("`{}`", v.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(", ");
    }
    match &schema["const"] {
        Value::Null => {}
        Value::String(value) => return format!("`{value}`"),
        value => return format!("`{value}`"),
    }
    let one = |name: &str| match name {
        "array" => format!("list of {}", type_of(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map to {}", type_of(&schema["additionalProperties"]))
        }
        "object" => "map".to_owned(),
        other => other.to_owned(),
    };
    match &schema["type"] {
        Value::String(name) => one(name),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str).filter(|n| *n != "null");
            names.map(one).collect::<Vec<_>>().join(" or ")
        }
        _ => "anything".to_owned(),
    }
}
