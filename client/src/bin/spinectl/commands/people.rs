//! `spinectl patient allocate|related`, and what the changes of a person share.

use std::path::Path;

use serde_json::{Value, json};
use spine_client::{AllocateOptions, Allocated, DeathStatus, Pds, RelatedPerson};

use super::patient::{read, show};
use crate::args::{Change, Death, Related};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, table};

/// The calls of a change, under its request id where it has one.
pub(super) fn pds(context: &Context, change: &Change) -> Result<Pds, Failure> {
    let pds = context.client()?.pds();
    Ok(match &change.request_id {
        Some(id) => pds.with_request_id(id.clone()),
        None => pds,
    })
}

pub(super) const fn status(status: Death) -> DeathStatus {
    match status {
        Death::Informal => DeathStatus::Informal,
        Death::Formal => DeathStatus::Formal,
        Death::Removed => DeathStatus::Removed,
    }
}

pub(super) async fn allocate(
    context: &Context,
    file: &Path,
    national: bool,
    if_none: &[String],
    request_id: Option<String>,
) -> Result<Exit, Failure> {
    let if_none: Result<Vec<(String, String)>, Failure> =
        if_none.iter().map(|text| criterion(text)).collect();
    let options = AllocateOptions {
        national,
        if_none: if_none?,
    };
    let mut pds = context.client()?.pds();
    if let Some(id) = request_id {
        pds = pds.with_request_id(id);
    }
    match pds.allocate(read(file)?, options).await? {
        Allocated::New(changed) => show(context, &changed),
        Allocated::Existing(patient) => {
            let json = json!({ "existing": patient.nhs_number, "version_id": patient.version_id });
            emit(context.format, &json, || {
                format!("{} exists, version {}", patient.nhs_number, patient.version_id)
            })?;
            Ok(Exit::Ok)
        }
        Allocated::Alike(numbers) => {
            let numbers: Vec<&str> = numbers.iter().map(|number| number.expose()).collect();
            emit(context.format, &json!({ "alike": numbers }), || {
                format!("not created: somebody alike has {}", numbers.join(", "))
            })?;
            Ok(Exit::Conflict)
        }
        Allocated::Several => Err(Failure {
            exit: Exit::Conflict,
            message: "not created: several patients meet the criteria".to_owned(),
        }),
    }
}

pub(super) fn criterion(text: &str) -> Result<(String, String), Failure> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| Failure::usage("a criterion is NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) async fn related(context: &Context, command: Related) -> Result<Exit, Failure> {
    match command {
        Related::List { nhs_number } => {
            let related = context.client()?.pds().related(&nhs_number).await?;
            let json = Value::Array(related.iter().map(to_json).collect());
            emit(context.format, &json, || {
                let rows = related.iter().map(|one| {
                    [
                        one.number.to_string(),
                        one.version_id.to_string(),
                        one.fhir_json.len().to_string(),
                    ]
                });
                table(["NUMBER", "VERSION", "BYTES"], rows)
            })?;
            Ok(Exit::Ok)
        }
        Related::Put {
            nhs_number,
            file,
            number,
            change,
        } => {
            let body = read(&file)?;
            put(context, &nhs_number, number.unwrap_or(0), &change, Some(body)).await
        }
        Related::Remove {
            nhs_number,
            number,
            change,
        } => put(context, &nhs_number, number, &change, None).await,
    }
}

async fn put(
    context: &Context,
    nhs_number: &str,
    number: u32,
    change: &Change,
    body: Option<Vec<u8>>,
) -> Result<Exit, Failure> {
    let version = change.if_version.unwrap_or(0);
    let one = pds(context, change)?
        .put_related(nhs_number, number, version, body.map(Into::into))
        .await?;
    emit(context.format, &to_json(&one), || {
        format!("{}-{} version {}", one.nhs_number, one.number, one.version_id)
    })?;
    Ok(Exit::Ok)
}

fn to_json(one: &RelatedPerson) -> Value {
    json!({
        "nhs_number": one.nhs_number,
        "number": one.number,
        "version_id": one.version_id,
        "resource": serde_json::from_slice::<Value>(&one.fhir_json).unwrap_or(Value::Null),
    })
}
