//! `spinectl patient load`: a file of patients, one line each.

use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::json;
use spine_client::{LoadLine, LoadOutcome, LoadReport};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::{emit, progress, talk};

/// Digits of the file's hash in a load id.
const LOAD_ID_DIGITS: usize = 32;
/// Refused lines told one by one; the rest is only counted.
const ERRORS_TOLD_MAX: u64 = 1_000;
/// A longer line is refused here: no patient is so large.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
const READ_BYTES: usize = 256 * 1024;

pub(crate) async fn run(
    context: &Context,
    file: &Path,
    load_id: Option<String>,
    streams: usize,
    batch: usize,
) -> Result<Exit, Failure> {
    let source = Source::open(file)?;
    let load_id = load_id.unwrap_or_else(|| source.load_id.clone());
    let client = context.client()?;
    let bar = progress(source.lines, "patients");
    let start = Instant::now();
    let mut told = 0;
    let reader = source.reader().await?;
    let report = client
        .pds()
        .load(&*load_id)
        .streams(streams)
        .batch_lines(batch)
        .run(lines(reader), |outcome| {
            bar.inc(outcome.lines());
            bar.suspend(|| tell(outcome, &mut told));
        })
        .await;
    bar.finish_and_clear();
    let report = report.map_err(|error| {
        talk(format_args!(
            "the load stopped; run it again to go on (load id {load_id})"
        ));
        Failure::from(error)
    })?;
    summary(context, &load_id, report, start.elapsed().as_secs_f64())
}

fn summary(context: &Context, load_id: &str, report: LoadReport, seconds: f64) -> Result<Exit, Failure> {
    let json = json!({
        "load_id": load_id,
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

/// What is to be loaded, read once to name and count it.
struct Source {
    content: Content,
    load_id: String,
    lines: u64,
}

enum Content {
    File(PathBuf),
    Memory(Bytes),
}

impl Source {
    fn open(file: &Path) -> Result<Self, Failure> {
        if file == Path::new("-") {
            let bytes = super::patient::read(file)?;
            let mut counter = Counter::default();
            counter.add(&bytes);
            let (load_id, lines) = counter.end();
            return Ok(Self {
                content: Content::Memory(bytes.into()),
                load_id,
                lines,
            });
        }
        let mut counter = Counter::default();
        let mut reader = std::fs::File::open(file).map_err(Failure::io(file.display()))?;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = std::io::Read::read(&mut reader, &mut buffer).map_err(Failure::io(file.display()))?;
            if read == 0 {
                break;
            }
            counter.add(&buffer[..read]);
        }
        let (load_id, lines) = counter.end();
        Ok(Self {
            content: Content::File(file.to_path_buf()),
            load_id,
            lines,
        })
    }

    async fn reader(self) -> Result<Box<dyn AsyncBufRead + Unpin>, Failure> {
        Ok(match self.content {
            Content::Memory(bytes) => Box::new(std::io::Cursor::new(bytes)),
            Content::File(path) => {
                let file = tokio::fs::File::open(&path)
                    .await
                    .map_err(Failure::io(path.display()))?;
                Box::new(BufReader::with_capacity(READ_BYTES, file))
            }
        })
    }
}

#[derive(Default)]
struct Counter {
    hasher: blake3::Hasher,
    lines: u64,
    open: bool,
}

impl Counter {
    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.open = bytes.last().map_or(self.open, |last| *last != b'\n');
    }

    fn end(self) -> (String, u64) {
        let hash = self.hasher.finalize().to_hex();
        (
            hash[..LOAD_ID_DIGITS].to_owned(),
            self.lines + u64::from(self.open),
        )
    }
}

/// Lines with their numbers; empty ones are left out, but counted.
fn lines(reader: Box<dyn AsyncBufRead + Unpin>) -> impl Stream<Item = LoadLine> {
    unfold((reader, 0), |(mut reader, mut number)| async move {
        loop {
            let mut text = Vec::new();
            match reader.read_until(b'\n', &mut text).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    talk(format_args!("reading stopped after line {number}: {error}"));
                    return None;
                }
            }
            number += 1;
            text.truncate(text.trim_ascii_end().len().min(LINE_BYTES_MAX));
            if !text.is_empty() {
                return Some((
                    LoadLine {
                        line: number,
                        fhir_json: text.into(),
                    },
                    (reader, number),
                ));
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
        let lines: Vec<_> = lines(Box::new(std::io::Cursor::new(text))).collect().await;
        let seen: Vec<_> = lines.iter().map(|l| (l.line, l.fhir_json.as_ref())).collect();
        assert_eq!(seen, [(1, &b"one"[..]), (4, b"four"), (5, b"five")]);
    }

    #[test]
    fn one_content_one_load_id() {
        let mut whole = Counter::default();
        whole.add(b"a\nb\nc");
        let mut parts = Counter::default();
        parts.add(b"a\nb");
        parts.add(b"\nc");
        let (id, lines) = whole.end();
        assert_eq!((id.len(), lines), (32, 3));
        assert_eq!(parts.end(), (id, 3));
    }
}
