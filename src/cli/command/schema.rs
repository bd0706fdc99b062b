//! `podpace schema`: JSON Schemas.
use crate::cli::args::{SchemaArgs, SchemaOf};
use crate::cli::failure::Output;
use crate::experiment::diff::Difference;
use crate::experiment::knee::Knee;
use crate::experiment::run::{Summary, json_schema, to_json};
use crate::experiment::sensitivity::Sensitivities;
use crate::experiment::sweep::SweepRow;
use crate::experiment::uncertainty::Uncertainty;
use crate::scenario::{DocumentKind, schema::schema};

/// Runs the command.
#[must_use]
pub fn execute(args: &SchemaArgs) -> Output {
    Output::pass(to_json(&match args.of {
        SchemaOf::Scenario => schema(DocumentKind::Scenario),
        SchemaOf::Experiment => schema(DocumentKind::Experiment),
        SchemaOf::Sweep => schema(DocumentKind::Sweep),
        SchemaOf::MeasuredStudy => schema(DocumentKind::MeasuredStudy),
        SchemaOf::Result => json_schema::<Summary>(),
        SchemaOf::SweepResult => json_schema::<Vec<SweepRow>>(),
        SchemaOf::Diff => json_schema::<Vec<Difference>>(),
        SchemaOf::Uncertainty => json_schema::<Uncertainty>(),
        SchemaOf::Explain => json_schema::<Sensitivities>(),
        SchemaOf::Knee => json_schema::<Knee>(),
    }))
}
