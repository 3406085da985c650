//! Changes a record on the disk of a node that is down, in a way that no checksum shows.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use spine_storage::engine::{Engine, factory_by_name};

/// First byte of all records of clients.
const RECORDS: [u8; 1] = [0x10];
const AFTER_RECORDS: [u8; 1] = [0x11];
const SCANNED_MAX: usize = 1_000_000;

/// Gives the record whose content holds `one` the content of the one that holds `other`, and the reverse. Both
/// stay well-formed. The records must be in a checkpoint. False = they were not found in one replica.
///
/// # Errors
/// Files that cannot be read, or an engine that refuses.
pub fn swap_records(data_dir: &Path, engine: &str, one: &[u8], other: &[u8]) -> io::Result<bool> {
    let factory = factory_by_name(engine).ok_or_else(|| io::Error::other("no such engine"))?;
    for directory in engines(data_dir)? {
        let opened = factory.open(&directory).map_err(io::Error::other)?;
        if swap(opened.as_ref(), one, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The engine directories of all replicas of a node.
fn engines(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for replica in fs::read_dir(data_dir.join("replicas"))? {
        for generation in fs::read_dir(replica?.path())? {
            let engine = generation?.path().join("engine");
            if engine.is_dir() {
                found.push(engine);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn swap(engine: &dyn Engine, one: &[u8], other: &[u8]) -> io::Result<bool> {
    let records = engine
        .range(&RECORDS, &AFTER_RECORDS, SCANNED_MAX)
        .map_err(io::Error::other)?;
    let holds = |value: &[u8], part: &[u8]| value.windows(part.len().max(1)).any(|window| window == part);
    let find = |part: &[u8]| records.iter().find(|(_, value)| holds(value, part));
    let (Some(first), Some(second)) = (find(one), find(other)) else {
        return Ok(false);
    };
    let mut batch = vec![
        (first.0.clone(), Some(second.1.clone())),
        (second.0.clone(), Some(first.1.clone())),
    ];
    batch.sort();
    engine.write_sorted(&batch).map_err(io::Error::other)?;
    engine.sync().map_err(io::Error::other)?;
    Ok(true)
}
