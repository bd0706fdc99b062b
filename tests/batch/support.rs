//! What these tests share: the text of a scenario, with files beside it, becomes a plan.
use podpace::cost::ProfileLibrary;
use podpace::scenario::plan::Plan;
use podpace::scenario::{Diagnostic, Document, resolve};
use podpace::scheduler::Registry;

/// The plan of a scenario, given what comes after its name; or what is wrong, a line each.
pub fn plan(files: &[(&str, &str)], rest: &str) -> Result<Plan, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let text = format!("apiVersion: podpace/v1\nkind: Scenario\nname: t\n{rest}\n");
    let show =
        |errors: Vec<Diagnostic>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let document = Document::parse("scenario.yaml", &text, Some(folder.path())).map_err(show)?;
    let spec = document.decode_scenario().map_err(show)?;
    resolve(&spec, &document, &ProfileLibrary::built_in(), &Registry::built_in()).map_err(show)
}
