//! `spinectl patient ...`; what makes or changes a person is in `people.rs`.

use std::io::Read as _;
use std::path::Path;
use std::pin::pin;

use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use spine_client::{Patient as Version, PatientChanged, Searched};

use crate::args::{PatchFormat, Patient, Sensitivity};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Format, emit, line, table};

use super::{patient_load, patient_watch, people};

/// The most versions of one page.
const HISTORY_PAGE: u32 = 100;

pub(crate) async fn run(context: &Context, command: Patient) -> Result<Exit, Failure> {
    match command {
        Patient::Get { nhs_number } => get(context, &nhs_number).await,
        Patient::Put {
            file,
            if_version,
            request_id,
        } => put(context, &file, if_version, request_id).await,
        Patient::Patch {
            nhs_number,
            file,
            format,
            if_version,
            request_id,
        } => {
            let mut pds = context.client()?.pds();
            if let Some(id) = request_id {
                pds = pds.with_request_id(id);
            }
            let format = match format {
                PatchFormat::Json => spine_client::PatchFormat::Json,
                PatchFormat::Merge => spine_client::PatchFormat::Merge,
                PatchFormat::Pds => spine_client::PatchFormat::Pds,
            };
            let patch = read(&file)?;
            let changed = pds
                .patch(&nhs_number, if_version.unwrap_or(0), format, patch)
                .await?;
            show(context, &changed)
        }
        Patient::Search { parameters } => search(context, &parameters).await,
        Patient::Allocate {
            file,
            national,
            if_none,
            request_id,
        } => people::allocate(context, &file, national, &if_none, request_id).await,
        Patient::Merge {
            nhs_number,
            into,
            change,
        } => {
            let pds = people::pds(context, &change)?;
            let version = change.if_version.unwrap_or(0);
            show(context, &pds.merge(&nhs_number, version, &into).await?)
        }
        Patient::Invalidate { nhs_number, change } => {
            let pds = people::pds(context, &change)?;
            let version = change.if_version.unwrap_or(0);
            show(context, &pds.invalidate(&nhs_number, version).await?)
        }
        Patient::Sensitivity {
            nhs_number,
            to,
            change,
        } => {
            let pds = people::pds(context, &change)?;
            let (version, restricted) = (change.if_version.unwrap_or(0), to == Sensitivity::Restricted);
            show(
                context,
                &pds.set_sensitivity(&nhs_number, version, restricted).await?,
            )
        }
        Patient::Death {
            nhs_number,
            status,
            at,
            change,
        } => {
            let pds = people::pds(context, &change)?;
            let (version, at) = (change.if_version.unwrap_or(0), at.unwrap_or_default());
            show(
                context,
                &pds.notify_death(&nhs_number, version, people::status(status), &at)
                    .await?,
            )
        }
        Patient::Related(command) => people::related(context, command).await,
        Patient::History { nhs_number, limit } => history(context, &nhs_number, limit).await,
        Patient::Watch { cursor, shard, limit } => patient_watch::run(context, cursor, shard, limit).await,
        Patient::Load { file, streams, batch } => patient_load::run(context, &file, streams, batch).await,
    }
}

async fn search(context: &Context, parameters: &[String]) -> Result<Exit, Failure> {
    let parameters: Result<Vec<_>, Failure> = parameters.iter().map(|text| people::criterion(text)).collect();
    let matches = match context.client()?.pds().search(parameters?).await? {
        Searched::Matches(matches) => matches,
        Searched::TooMany => {
            return Err(Failure {
                exit: Exit::Conflict,
                message: "too many patients match: ask for more of the person".to_owned(),
            });
        }
    };
    let found = matches.iter().map(|found| {
        let mut json = to_json(&found.patient);
        json["score"] = found.score.into();
        json
    });
    emit(context.format, &Value::Array(found.collect()), || {
        let rows = matches.iter().map(|found| {
            [
                found.patient.nhs_number.clone(),
                found.patient.version_id.to_string(),
                format!("{:.4}", found.score),
            ]
        });
        table(["NHS NUMBER", "VERSION", "SCORE"], rows)
    })?;
    Ok(if matches.is_empty() {
        Exit::NotFound
    } else {
        Exit::Ok
    })
}

async fn get(context: &Context, nhs_number: &str) -> Result<Exit, Failure> {
    let patient = context.client()?.pds().retrieve(nhs_number).await?;
    match context.format {
        Format::Json => line(&format!("{:#}", to_json(&patient)))?,
        Format::Table => line(&format!("{:#}", resource(&patient)))?,
    }
    Ok(Exit::Ok)
}

async fn put(
    context: &Context,
    file: &Path,
    if_version: Option<u32>,
    request_id: Option<String>,
) -> Result<Exit, Failure> {
    let body = read(file)?;
    let mut pds = context.client()?.pds();
    if let Some(id) = request_id {
        pds = pds.with_request_id(id);
    }
    let changed = match if_version {
        None => pds.register(body).await?,
        Some(version) => {
            let resource: Value = serde_json::from_slice(&body)
                .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
            let number = resource["id"]
                .as_str()
                .ok_or_else(|| Failure::usage("the resource has no id"))?;
            pds.update(number, version, body.clone()).await?
        }
    };
    show(context, &changed)
}

/// What a change did.
pub(super) fn show(context: &Context, changed: &PatientChanged) -> Result<Exit, Failure> {
    let json = json!({
        "nhs_number": changed.patient.nhs_number,
        "version_id": changed.patient.version_id,
        "replayed": changed.replayed,
        "shard": changed.position.shard,
        "index": changed.position.index,
    });
    emit(context.format, &json, || {
        let again = if changed.replayed {
            " (had taken effect before)"
        } else {
            ""
        };
        format!(
            "{} version {}{again}",
            changed.patient.nhs_number, changed.patient.version_id
        )
    })?;
    Ok(Exit::Ok)
}

async fn history(context: &Context, nhs_number: &str, limit: usize) -> Result<Exit, Failure> {
    let page = u32::try_from(limit)
        .unwrap_or(HISTORY_PAGE)
        .clamp(1, HISTORY_PAGE);
    let mut pages = pin!(context.client()?.pds().history_pages(nhs_number, page));
    let mut versions = Vec::new();
    while versions.len() < limit {
        let Some(page) = pages.try_next().await? else {
            break;
        };
        versions.extend(page.versions);
    }
    versions.truncate(limit);
    let json = Value::Array(versions.iter().map(to_json).collect());
    emit(context.format, &json, || {
        let rows = versions.iter().map(|version| {
            let updated = resource(version)["meta"]["lastUpdated"]
                .as_str()
                .unwrap_or("")
                .to_owned();
            [
                version.version_id.to_string(),
                updated,
                version.fhir_json.len().to_string(),
            ]
        });
        table(["VERSION", "UPDATED", "BYTES"], rows)
    })?;
    Ok(Exit::Ok)
}

fn resource(patient: &Version) -> Value {
    serde_json::from_slice(&patient.fhir_json).unwrap_or(Value::Null)
}

fn to_json(patient: &Version) -> Value {
    json!({
        "nhs_number": patient.nhs_number,
        "version_id": patient.version_id,
        "resource": resource(patient),
    })
}

/// A whole file, or stdin for `-`.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map_err(Failure::io("stdin"))?;
        return Ok(bytes);
    }
    std::fs::read(file).map_err(Failure::io(file.display()))
}
