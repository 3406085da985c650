//! Published examples of the NHS, where a copy stands beside the project, are registered and come back.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use spine_proto::pds::v1::{RegisterRequest, RegisterResponse};

use super::harness::Shard;

/// Beside the project's folder.
const EXAMPLES: &str = "../../../shared/examples";

fn json_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            json_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found.sort();
}

#[test]
fn patients_of_the_pds_specification_are_registered() {
    let mut files = Vec::new();
    json_files(
        &Path::new(EXAMPLES).join("pds/specification/components/examples/requests/PatientCreate"),
        &mut files,
    );
    if files.is_empty() {
        // Not a pass to be mistaken for one: the harness shows this line with --nocapture.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"SKIPPED: no NHS examples beside the project\n",
        );
        return;
    }
    for path in files {
        // Creation allocates the number; registration is told it.
        let mut patient: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        patient["id"] = json!("9990000018");
        let request = RegisterRequest {
            fhir_json: patient.to_string().into(),
            request_id: "r".to_owned(),
            session: None,
            return_minimal: false,
        };
        let answer: Result<RegisterResponse, _> = Shard::new().call("pds.register", &request);
        let answer = answer.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut stored: Value = serde_json::from_slice(&answer.patient.unwrap().fhir_json).unwrap();
        assert_eq!(
            stored.as_object_mut().unwrap().remove("meta"),
            Some(json!({ "versionId": "1" }))
        );
        assert_eq!(stored, patient);
    }
}
