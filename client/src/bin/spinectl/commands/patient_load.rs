//! `spinectl patient load`: a file of patients, one line each.

use std::path::Path;
use std::time::Instant;

use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::json;
use spine_client::{LoadLine, LoadOutcome, LoadReport};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, progress, talk};

/// Refused lines told one by one; the rest is only counted.
const ERRORS_TOLD_MAX: u64 = 1_000;
/// A longer line is refused here: no patient is so large.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
const READ_BYTES: usize = 256 * 1024;

pub(crate) async fn run(
    context: &Context,
    file: &Path,
    streams: usize,
    batch: usize,
) -> Result<Exit, Failure> {
    let (reader, bytes) = open(file).await?;
    let client = context.client()?;
    let bar = progress(bytes, "bytes");
    let start = Instant::now();
    let mut told = 0;
    let report = client
        .pds()
        .load()
        .streams(streams)
        .batch_lines(batch)
        .run(lines(reader, |read| bar.inc(read)), |outcome| {
            bar.suspend(|| tell(outcome, &mut told));
        })
        .await;
    bar.finish_and_clear();
    let report = report.map_err(|error| {
        talk(format_args!("the load stopped; run it again to go on"));
        Failure::from(error)
    })?;
    summary(context, report, start.elapsed().as_secs_f64())
}

fn summary(context: &Context, report: LoadReport, seconds: f64) -> Result<Exit, Failure> {
    let json = json!({
        "registered": report.registered,
        "replayed": report.replayed,
        "failed": report.failed,
        "seconds": (seconds * 1_000.0).round() / 1_000.0,
    });
    emit(context.format, &json, || {
        format!(
            "{} registered, {} registered before, {} refused in {seconds:.1} s",
            report.registered, report.replayed, report.failed
        )
    })?;
    Ok(if report.failed == 0 {
        Exit::Ok
    } else {
        Exit::Partial
    })
}

fn tell(outcome: &LoadOutcome, told: &mut u64) {
    for error in &outcome.errors {
        *told += 1;
        if *told <= ERRORS_TOLD_MAX {
            talk(format_args!(
                "line {}: {}: {}",
                error.line, error.reason, error.message
            ));
        } else if *told == ERRORS_TOLD_MAX + 1 {
            talk(format_args!("further refused lines are only counted"));
        }
    }
}

/// The file and its length; standard input as a whole.
async fn open(file: &Path) -> Result<(Box<dyn AsyncBufRead + Unpin>, u64), Failure> {
    if file == Path::new("-") {
        let bytes = super::patient::read(file)?;
        let length = bytes.len() as u64;
        return Ok((Box::new(std::io::Cursor::new(bytes)), length));
    }
    let io = Failure::io(file.display());
    let opened = async {
        let file = tokio::fs::File::open(file).await?;
        let length = file.metadata().await?.len();
        Ok((file, length))
    };
    let (file, length) = opened.await.map_err(io)?;
    Ok((Box::new(BufReader::with_capacity(READ_BYTES, file)), length))
}

/// Lines with their numbers; empty ones are left out, but counted. `read` is told the bytes of each.
fn lines(reader: Box<dyn AsyncBufRead + Unpin>, read: impl Fn(u64)) -> impl Stream<Item = LoadLine> {
    unfold((reader, 0, read), |(mut reader, mut number, read)| async move {
        loop {
            let mut text = Vec::new();
            match reader.read_until(b'\n', &mut text).await {
                Ok(0) => return None,
                Ok(bytes) => read(bytes as u64),
                Err(error) => {
                    talk(format_args!("reading stopped after line {number}: {error}"));
                    return None;
                }
            }
            number += 1;
            text.truncate(text.trim_ascii_end().len().min(LINE_BYTES_MAX));
            if !text.is_empty() {
                let line = LoadLine {
                    line: number,
                    fhir_json: text.into(),
                };
                return Some((line, (reader, number, read)));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn lines_keep_their_numbers() {
        let text: &[u8] = b"one\r\n\n  \nfour\nfive";
        let lines: Vec<_> = lines(Box::new(std::io::Cursor::new(text)), |_| {})
            .collect()
            .await;
        let seen: Vec<_> = lines.iter().map(|l| (l.line, l.fhir_json.as_ref())).collect();
        assert_eq!(seen, [(1, &b"one"[..]), (4, b"four"), (5, b"five")]);
    }
}
