//! `spinectl records get|list|commit|watch`.

use std::pin::pin;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use spine_client::{Commit, Key, ListOptions, Record, SpineClient, WatchEvent, WatchFrom};

use crate::args::Records;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Format, data, emit, line, table};

/// The most records of one page.
const LIST_PAGE: usize = 1_000;

pub(crate) async fn run(context: &Context, command: Records) -> Result<Exit, Failure> {
    let client = context.client()?;
    match command {
        Records::Get { routing_key, suffix } => get(context, &client, Key::new(routing_key, suffix)).await,
        Records::List {
            routing_key,
            prefix,
            limit,
        } => list(context, &client, &routing_key, prefix, limit).await,
        Records::Commit {
            routing_key,
            put,
            delete,
            if_revision,
            if_absent,
            request_id,
        } => {
            let mut commit = Commit::new(routing_key);
            for text in if_revision {
                let (suffix, revision) = pair(&text)?;
                let revision = revision
                    .parse()
                    .map_err(|_| Failure::usage(format!("{revision} is not a revision")))?;
                commit = commit.if_revision(suffix, revision);
            }
            for suffix in if_absent {
                commit = commit.if_absent(suffix);
            }
            for text in put {
                let (suffix, value) = pair(&text)?;
                commit = commit.put(suffix, value_of(&value)?);
            }
            for suffix in delete {
                commit = commit.delete(suffix);
            }
            if let Some(id) = request_id {
                commit = commit.request_id(id);
            }
            send(context, &client, commit).await
        }
        Records::Watch {
            routing_key,
            from,
            limit,
        } => watch(context, &client, &routing_key, from, limit).await,
    }
}

async fn get(context: &Context, client: &SpineClient, key: Key) -> Result<Exit, Failure> {
    let found = client.records().get(&key).await?;
    let Some(record) = found.record else {
        let message = format!(
            "no such record at index {} of shard {}",
            found.position.index, found.position.shard
        );
        return Err(Failure {
            exit: Exit::NotFound,
            message,
        });
    };
    match context.format {
        Format::Table => data(&record.value)?,
        Format::Json => line(&format!("{:#}", to_json(&record)))?,
    }
    Ok(Exit::Ok)
}

async fn list(
    context: &Context,
    client: &SpineClient,
    routing_key: &str,
    prefix: String,
    limit: usize,
) -> Result<Exit, Failure> {
    let page_size = u32::try_from(limit.clamp(1, LIST_PAGE)).unwrap_or(0);
    let options = ListOptions {
        suffix_prefix: prefix.into(),
        page_size,
        ..ListOptions::default()
    };
    let mut pages = pin!(client.records().pages(routing_key, options));
    let mut records = Vec::new();
    while records.len() < limit {
        let Some(page) = pages.try_next().await? else {
            break;
        };
        records.extend(page.records);
    }
    records.truncate(limit);
    emit(
        context.format,
        &Value::Array(records.iter().map(to_json).collect()),
        || {
            let rows = records.iter().map(|r| {
                [
                    shown(&r.key.suffix),
                    r.revision.to_string(),
                    r.value.len().to_string(),
                ]
            });
            table(["SUFFIX", "REVISION", "BYTES"], rows)
        },
    )?;
    Ok(Exit::Ok)
}

async fn send(context: &Context, client: &SpineClient, commit: Commit) -> Result<Exit, Failure> {
    let done = client.records().commit(commit).await?;
    let json = json!({
        "revision": done.revision,
        "replayed": done.replayed,
        "shard": done.position.shard,
        "index": done.position.index,
    });
    emit(context.format, &json, || {
        let again = if done.replayed {
            " (had taken effect before)"
        } else {
            ""
        };
        format!("revision {}{again}", done.revision)
    })?;
    Ok(Exit::Ok)
}

async fn watch(
    context: &Context,
    client: &SpineClient,
    routing_key: &str,
    from: Option<u64>,
    limit: Option<usize>,
) -> Result<Exit, Failure> {
    let from = from.map_or(WatchFrom::Now, WatchFrom::Index);
    let mut watch = client.records().watch(routing_key, from).await?;
    let mut seen = 0;
    while limit.is_none_or(|limit| seen < limit) {
        let event = tokio::select! {
            event = watch.next() => event?,
            _ = tokio::signal::ctrl_c() => break,
        };
        seen += 1;
        print_event(context, &event)?;
    }
    Ok(Exit::Ok)
}

/// One line for each change, so that a pipe can follow.
fn print_event(context: &Context, event: &WatchEvent) -> Result<(), Failure> {
    for change in &event.changes {
        match context.format {
            Format::Json => {
                let record = change.record.as_ref().map(to_json);
                let json = json!({
                    "index": event.index,
                    "suffix": text_of(&change.key.suffix),
                    "deleted": record.is_none(),
                    "record": record,
                });
                line(&json.to_string())?;
            }
            Format::Table => {
                let what = change.record.as_ref().map_or_else(
                    || "deleted".to_owned(),
                    |record| format!("{} bytes", record.value.len()),
                );
                line(&format!("{}\t{}\t{what}", event.index, shown(&change.key.suffix)))?;
            }
        }
    }
    Ok(())
}

fn to_json(record: &Record) -> Value {
    json!({
        "routing_key": record.key.routing_key,
        "suffix": text_of(&record.key.suffix),
        "revision": record.revision,
        "value": text_of(&record.value),
    })
}

/// Text as it is, other bytes as `{"hex": "..."}`.
fn text_of(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => json!({ "hex": hex(bytes) }),
    }
}

fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("0x{}", hex(bytes)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pair(text: &str) -> Result<(String, String), Failure> {
    let (suffix, value) = text
        .split_once('=')
        .ok_or_else(|| Failure::usage(format!("expected SUFFIX=..., not {text}")))?;
    Ok((suffix.to_owned(), value.to_owned()))
}

fn value_of(text: &str) -> Result<Bytes, Failure> {
    match text.strip_prefix('@') {
        Some(path) => Ok(std::fs::read(path).map_err(Failure::io(path))?.into()),
        None => Ok(text.to_owned().into()),
    }
}
