//! Damage to the files of a node that does not run, drawn from a seed.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A sector.
const SECTOR_BYTES: usize = 512;
/// A misdirected write is of so many sectors at most.
const SECTORS_MAX: usize = 8;
/// Draws that would change nothing are repeated; a directory without anything to damage gives up.
const TRIES: u32 = 1_000;
/// Of 100 draws in the log so many hit what is written; the others hit what was made in advance, too.
const WRITTEN_PERCENT: u32 = 80;

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    BitFlip,
    Overwrite,
    Missing,
    Misdirected,
}

/// What a file is for, and with it who would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read at every start, and checked: whatever is done to it must be seen.
    Checked,
    /// A file of the log: read to its end at every start; what was made in advance holds nothing.
    Log,
    /// A file of an engine: read by a scrub; what is free in it holds nothing.
    Engine,
    /// Read by nobody.
    Unread,
}

/// One damage.
#[derive(Clone, Debug)]
pub struct Damage {
    pub harm: Harm,
    pub role: Role,
    /// In the data directory.
    pub file: PathBuf,
    pub offset: usize,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} at {}", self.harm, self.file.display(), self.offset)
    }
}

/// Damages one file of a data directory.
///
/// # Errors
/// What the disk says.
pub fn damage(data: &Path, random: &mut ChaCha8Rng) -> io::Result<Damage> {
    let files = files_of(data)?;
    for _ in 0..TRIES {
        let Some((role, file)) = draw_file(&files, random) else {
            break;
        };
        let path = data.join(file);
        let bytes = fs::read(&path)?;
        let harm =
            [Harm::BitFlip, Harm::Overwrite, Harm::Missing, Harm::Misdirected][random.random_range(0..4)];
        if harm == Harm::Missing {
            fs::remove_file(&path)?;
            return Ok(Damage {
                harm,
                role,
                file: file.clone(),
                offset: 0,
            });
        }
        let offset = draw_offset(role, &bytes, random);
        let mut after = bytes.clone();
        harm_bytes(harm, offset, &mut after, random);
        if after != bytes {
            fs::write(&path, after)?;
            return Ok(Damage {
                harm,
                role,
                file: file.clone(),
                offset,
            });
        }
    }
    Err(io::Error::other("nothing to damage"))
}

fn harm_bytes(harm: Harm, offset: usize, bytes: &mut [u8], random: &mut ChaCha8Rng) {
    match harm {
        Harm::BitFlip => bytes[offset] ^= 1 << random.random_range(0..8),
        Harm::Overwrite => {
            let begin = offset - offset % SECTOR_BYTES;
            let end = (begin + SECTOR_BYTES).min(bytes.len());
            random.fill(&mut bytes[begin..end]);
        }
        Harm::Misdirected => {
            let begin = offset - offset % SECTOR_BYTES;
            let len = SECTOR_BYTES * random.random_range(1..=SECTORS_MAX);
            let from = random.random_range(0..bytes.len());
            let from = from - from % SECTOR_BYTES;
            let len = len.min(bytes.len() - begin).min(bytes.len() - from);
            bytes.copy_within(from..from + len, begin);
        }
        Harm::Missing => {}
    }
}

/// A role first, so that small files have their share.
fn draw_file<'a>(files: &'a [(Role, PathBuf)], random: &mut ChaCha8Rng) -> Option<(Role, &'a PathBuf)> {
    let roles = [
        Role::Checked,
        Role::Log,
        Role::Log,
        Role::Engine,
        Role::Engine,
        Role::Unread,
    ];
    let role = roles[random.random_range(0..roles.len())];
    let of_role: Vec<&(Role, PathBuf)> = files.iter().filter(|(found, _)| *found == role).collect();
    if of_role.is_empty() {
        return files.first().map(|(role, file)| (*role, file));
    }
    let (role, file) = of_role[random.random_range(0..of_role.len())];
    Some((*role, file))
}

fn draw_offset(role: Role, bytes: &[u8], random: &mut ChaCha8Rng) -> usize {
    let written = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let in_written = role == Role::Log && written > 0 && random.random_range(0..100) < WRITTEN_PERCENT;
    let end = if in_written { written } else { bytes.len() };
    random.random_range(0..end)
}

/// Files that hold anything, in order.
fn files_of(data: &Path) -> io::Result<Vec<(Role, PathBuf)>> {
    let mut files = Vec::new();
    collect(data, Path::new(""), &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(data: &Path, below: &Path, files: &mut Vec<(Role, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(data.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            // Evidence of an earlier damage.
            if entry.file_name() != "wal.damaged" {
                collect(data, &path, files)?;
            }
        } else if metadata.len() > 0 {
            files.push((role_of(&path), path));
        }
    }
    Ok(())
}

fn role_of(path: &Path) -> Role {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let within = |part: &str| path.iter().any(|found| found == part);
    match name {
        "LOCK" | "proposed-plan" | "effects.part" => Role::Unread,
        _ if name.ends_with(".spare") || name.ends_with(".tmp") => Role::Unread,
        _ if name.ends_with(".seg") => Role::Log,
        _ if within("engine") => Role::Engine,
        _ => Role::Checked,
    }
}
