//! `spinectl patient watch`.

use serde_json::{Value, json};
use spine_client::{PatientEvent, PatientsFrom};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Format, line, talk};

pub(super) async fn run(
    context: &Context,
    cursor: Option<String>,
    shards: Vec<u32>,
    limit: Option<usize>,
) -> Result<Exit, Failure> {
    let from = cursor.map_or(PatientsFrom::Now, PatientsFrom::Cursor);
    let mut watch = context.client()?.pds().watch(from);
    for shard in shards {
        watch = watch.shard(shard);
    }
    let mut seen = 0;
    while limit.is_none_or(|limit| seen < limit) {
        let event = tokio::select! {
            event = watch.next() => event?,
            _ = tokio::signal::ctrl_c() => break,
        };
        seen += 1;
        print(context, &event)?;
    }
    if !watch.cursor().is_empty() {
        talk(format_args!("go on with --cursor {}", watch.cursor()));
    }
    Ok(Exit::Ok)
}

/// One line for each version, so that a pipe can follow.
fn print(context: &Context, event: &PatientEvent) -> Result<(), Failure> {
    let (patient, position) = (&event.patient, event.position);
    match context.format {
        Format::Json => {
            let resource: Value = serde_json::from_slice(&patient.fhir_json).unwrap_or(Value::Null);
            let json = json!({
                "shard": position.shard,
                "index": position.index,
                "nhs_number": patient.nhs_number,
                "version_id": patient.version_id,
                "cursor": event.cursor,
                "resource": resource,
            });
            line(&json.to_string())
        }
        Format::Table => line(&format!(
            "{}\t{}\t{}\tversion {}",
            position.shard, position.index, patient.nhs_number, patient.version_id
        )),
    }
}
