//! Changes a patient's address, and does so safely while others change the same patient.
//!
//! `cargo run -p spine-client --example update_address -- 9990000018`
#![allow(clippy::print_stdout, reason = "an example talks")]

use serde_json::{Value, json};
use spine_client::{Result, SpineClient};

/// Somebody else may change the patient in between so often before this gives up.
const TRIES: usize = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let nhs_number = std::env::args().nth(1).unwrap_or_else(|| "9990000018".to_owned());
    let client = SpineClient::builder()
        .endpoints(["127.0.0.1:7401", "127.0.0.1:7402", "127.0.0.1:7403"])
        .principal("developer")
        .connect()?;
    let version = move_to(&client, &nhs_number, &["14 Mill Lane", "Otley"], "LS21 1AA").await?;
    println!("the address is changed: version {version}");
    Ok(())
}

/// Returns the new version.
async fn move_to(client: &SpineClient, nhs_number: &str, lines: &[&str], postcode: &str) -> Result<u32> {
    let mut tries = 0;
    loop {
        let patient = client.pds().retrieve(nhs_number).await?;
        let mut resource: Value = serde_json::from_slice(&patient.fhir_json).unwrap_or_default();
        resource["address"] = json!([{ "use": "home", "line": lines, "postalCode": postcode }]);
        let body = resource.to_string();
        // Lost answers and dead leaders are the client's business; a version that somebody else has
        // replaced is ours.
        match client.pds().update(nhs_number, patient.version_id, body).await {
            Ok(changed) => return Ok(changed.patient.version_id),
            Err(error) if error.is_conflict() && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}
