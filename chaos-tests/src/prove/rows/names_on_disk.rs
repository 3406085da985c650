//! What of a person is on disk: looked for where nobody should find it.

mod people;
mod plant;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memchr::memmem;
use serde::Serialize;
use spine_storage::engine::factory_by_name;

use self::people::People;
use super::patients::checkpoint;
use super::support::{SHARDS, block_on};
use crate::processes::{Cluster, Options};
use crate::prove::{Context, Finding, Measurement, Row, RowError};

pub(super) const ROW: Row = Row {
    id: "names-on-disk",
    issue: 6,
    claim: "names, numbers and addresses that were planted through every call are in no key, no token and no log; those that \
            were only asked for are nowhere on disk",
    target: "0 found (values are sealed later)",
    run,
};

/// Of each kind.
const PATIENTS: u64 = 40;
const PATIENTS_QUICK: u64 = 8;
const STOP: Duration = Duration::from_secs(30);
/// Not of a person.
const CONTROL: &str = "Wqjxzcontrolvqk";
const PAGE: usize = 1_000;

#[derive(Default, Serialize)]
struct Measured {
    planted: usize,
    keys: u64,
    log_bytes: u64,
    file_bytes: u64,
    found: BTreeMap<&'static str, u64>,
    /// The search itself works: a word of no person, in a value that is not compressed, is found.
    control: u64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found: u64 = self.found.values().sum();
        write!(
            f,
            "{} words planted; {} keys, {} KiB of logs and {} MiB of files searched: {found} found {:?}; a control found {} times",
            self.planted,
            self.keys,
            self.log_bytes >> 10,
            self.file_bytes >> 20,
            self.found,
            self.control
        )
    }
}

impl Measurement for Measured {
    fn met(&self) -> bool {
        self.found.values().all(|count| *count == 0)
            && self.keys > 0
            && self.log_bytes > 0
            && self.control > 0
    }
}

fn run(context: &Context) -> Result<Finding, RowError> {
    let count = context.rounds(PATIENTS, PATIENTS_QUICK);
    block_on(async move {
        let options = Options {
            nodes: 3,
            shards: SHARDS,
            programs: context.programs.clone(),
        };
        let settings = vec![
            format!("storage.engine={}", context.engine),
            "storage.segment_bytes=8388608".to_owned(),
            "storage.min_free_bytes=67108864".to_owned(),
            "telemetry.log_level=debug".to_owned(),
        ];
        let mut cluster = Cluster::start_with_http(&options, settings).await?;
        let mut people = People::new(count);
        plant::plant(&cluster, &mut people).await?;
        checkpoint(&cluster).await?;
        for node in 0..cluster.nodes() {
            if let Some(pid) = cluster.pid(node) {
                crate::processes::signals::terminate(pid)?;
                cluster.wait_ended(node, STOP).await?;
            }
        }
        let measured = look(&cluster, context, &people)?;
        if !measured.met() {
            cluster.keep_files();
        }
        Finding::of(&measured)
    })
}

fn look(cluster: &Cluster, context: &Context, people: &People) -> Result<Measured, RowError> {
    let only_asked: Vec<&str> = people.only_asked().collect();
    let all: Vec<&str> = people.kept().chain(people.only_asked()).collect();
    let mut measured = Measured {
        planted: all.len(),
        ..Measured::default()
    };
    for node in 0..cluster.nodes() {
        for file in files(cluster.node_directory(node))? {
            let bytes = fs::read(&file)?;
            if file.extension().is_some_and(|extension| extension == "log") {
                measured.log_bytes += bytes.len() as u64;
                *measured.found.entry("logs").or_default() += hits(&bytes, &all);
            }
            measured.file_bytes += bytes.len() as u64;
            *measured.found.entry("asked for, in files").or_default() += hits(&bytes, &only_asked);
            measured.control += hits(&bytes, &[CONTROL]);
        }
        for engine in engines(cluster.node_directory(node))? {
            look_at_keys(context, &engine, &all, &mut measured)?;
        }
    }
    Ok(measured)
}

/// Keys are those of records, of tokens and of request ids.
fn look_at_keys(
    context: &Context,
    dir: &Path,
    words: &[&str],
    measured: &mut Measured,
) -> Result<(), RowError> {
    let factory = factory_by_name(&context.engine).ok_or_else(|| RowError::because("no such engine"))?;
    let engine = factory
        .open(dir)
        .map_err(|error| RowError::because(error.to_string()))?;
    let mut start = Vec::new();
    loop {
        let page = engine
            .range(&start, &[], PAGE)
            .map_err(|error| RowError::because(error.to_string()))?;
        let Some((last, _)) = page.last() else { break };
        start = [last, &[0][..]].concat();
        for (key, _) in &page {
            measured.keys += 1;
            *measured.found.entry("keys and tokens").or_default() += hits(key, words);
        }
    }
    Ok(())
}

/// How many of these words stand there: as they are, in other letters, or, a number, as bytes.
fn hits(bytes: &[u8], words: &[&str]) -> u64 {
    let lower = bytes.to_ascii_lowercase();
    let is_there = |word: &&&str| {
        memmem::find(&lower, word.to_lowercase().as_bytes()).is_some()
            || word.parse::<u64>().is_ok_and(|number| {
                memmem::find(bytes, &number.to_be_bytes()).is_some()
                    || memmem::find(bytes, &number.to_le_bytes()).is_some()
            })
    };
    words.iter().filter(is_there).count() as u64
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, RowError> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(files(&path)?);
        } else {
            all.push(path);
        }
    }
    Ok(all)
}

/// The engines of a node's replicas.
fn engines(dir: &Path) -> Result<Vec<PathBuf>, RowError> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        if path.file_name().is_some_and(|name| name == "engine") {
            all.push(path);
        } else {
            all.extend(engines(&path)?);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::hits;

    #[test]
    fn words_are_found_in_any_letters_and_numbers_as_bytes() {
        let number = 9_990_000_018_u64;
        let text = b"...ZZYQX...".as_slice();
        assert_eq!(hits(text, &["Zzyqx", "other"]), 1);
        assert_eq!(hits(&number.to_be_bytes(), &["9990000018"]), 1);
        assert_eq!(hits(&number.to_le_bytes(), &["9990000018"]), 1);
        assert_eq!(hits(b"9990000018", &["9990000018"]), 1);
        assert_eq!(hits(b"", &["9990000018"]), 0);
    }
}
