//! `podpace schema`: JSON Schemas.
use crate::cli::args::{SchemaArgs, SchemaOf};
use crate::cli::failure::Output;
use crate::experiment::run::{result_schema, to_json};
use crate::scenario::{DocumentKind, schema::schema};

/// Runs the command.
#[must_use]
pub fn execute(args: &SchemaArgs) -> Output {
    Output::pass(to_json(&match args.of {
        SchemaOf::Scenario => schema(DocumentKind::Scenario),
        SchemaOf::Experiment => schema(DocumentKind::Experiment),
        SchemaOf::Sweep => schema(DocumentKind::Sweep),
        SchemaOf::Result => result_schema(),
    }))
}
