//! Trains a dictionary of patients for `spine_statemachine::frame`, on generated records only:
//!
//! ```sh
//! cargo run --release -p spine-client --features cli --bin spinectl -- population generate --count 50000 --seed 7 \
//!   | cargo run --release -p spine-services --example train_dictionary -- new.zdict
//! ```
//!
//! Of every four patients three are trained on and one is measured. Equal input gives equal bytes.

#![allow(clippy::print_stderr, reason = "a program for a terminal")]

use std::error::Error;
use std::io::BufRead as _;
use std::path::PathBuf;

use prost::Message as _;
use spine_proto::storage::v1::PatientRow;
use spine_services::pds::patient::Patient;
use zstd_safe::{CCtx, CDict};

/// A larger one saves little: see `docs/benchmarks.md`.
const DICTIONARY_BYTES: usize = 64 * 1024;
const LEVEL: i32 = 3;
/// 2026-01-01: rules about dates need a now, and the bytes must not depend on today's.
const NOW_MS: i64 = 1_767_225_600_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let out = PathBuf::from(arguments.next().ok_or("usage: train_dictionary OUT [BYTES]")?);
    let bytes = match arguments.next() {
        Some(bytes) => bytes.to_string_lossy().parse()?,
        None => DICTIONARY_BYTES,
    };
    let (mut samples, mut sizes, mut held_out) = (Vec::new(), Vec::new(), Vec::new());
    for (at, line) in std::io::stdin().lock().lines().enumerate() {
        let row = stored_form(line?.as_bytes())?;
        if at % 4 == 3 {
            held_out.push(row);
        } else {
            sizes.push(row.len());
            samples.extend(row);
        }
    }
    let mut dictionary = vec![0; bytes];
    let trained = zstd_safe::train_from_buffer(&mut dictionary[..], &samples, &sizes)
        .map_err(zstd_safe::get_error_name)?;
    dictionary.truncate(trained);
    measure(&dictionary, &held_out)?;
    std::fs::write(&out, &dictionary)?;
    Ok(())
}

/// A line as a node would store it.
fn stored_form(line: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let patient = Patient::parse(line, NOW_MS).map_err(|_| "a line is not a patient within the rules")?;
    let json = patient.into_json(1).map_err(|_| "a patient is too large")?;
    let row = PatientRow {
        version_id: 1,
        fhir_json: json.into(),
        ..PatientRow::default()
    };
    Ok(row.encode_to_vec())
}

fn measure(dictionary: &[u8], rows: &[Vec<u8>]) -> Result<(), Box<dyn Error>> {
    let prepared = CDict::create(dictionary, LEVEL);
    let mut context = CCtx::create();
    let (mut plain, mut small) = (0, 0);
    for row in rows {
        let mut into = vec![0; zstd_safe::compress_bound(row.len())];
        let bytes = context.compress_using_cdict(&mut into[..], row, &prepared);
        plain += row.len();
        small += bytes.map_err(zstd_safe::get_error_name)?;
    }
    let each = |bytes: usize| bytes / rows.len().max(1);
    eprintln!(
        "dictionary of {} bytes: {} bytes a patient become {}, over {} that it was not trained on",
        dictionary.len(),
        each(plain),
        each(small),
        rows.len()
    );
    Ok(())
}
