//! Damage to the files of a node that was stopped as planned, drawn from a seed.

mod records;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use self::records::Records;

/// A sector.
const SECTOR_BYTES: usize = 512;
/// A misdirected write is of so many sectors at most.
const SECTORS_MAX: usize = 8;
/// Draws that would change nothing, or hit something of another role, are repeated so often.
const TRIES: u32 = 10_000;
/// Of 100 draws for a record so many are in a segment in use; the others may hit the head of one made in
/// advance.
const IN_USE_PERCENT: u32 = 75;

/// Where the sectors of a misdirected write belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Elsewhere in the same file.
    SameFile,
    /// At the same place of another file of the same kind: another segment of the log, another replica's
    /// engine.
    OtherFile,
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    BitFlip,
    Overwrite,
    Missing,
    Misdirected(Source),
}

/// What is damaged, and with it who would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A small file that is read and checked at every start: whatever is done to it must be seen.
    Checked,
    /// What was durable in the log before the stop: read at every start, and what follows shows that it was
    /// there.
    Record,
    /// The rest of the log: what was made in advance or is left of an earlier use, padding, the mark of the
    /// stop.
    Slack,
    /// A file of an engine: read by a scrub; what is free in it holds nothing.
    Engine,
    /// Read by nobody.
    Unread,
}

impl Role {
    /// Whether every damage to it must be found, by what the node checks when it starts.
    #[must_use]
    pub const fn must_be_found(self) -> bool {
        matches!(self, Self::Checked | Self::Record)
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Checked => Kind::Checked,
            Self::Record | Self::Slack => Kind::Log,
            Self::Engine => Kind::Engine,
            Self::Unread => Kind::Unread,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checked => "checked",
            Self::Record => "record",
            Self::Slack => "slack",
            Self::Engine => "engine",
            Self::Unread => "unread",
        })
    }
}

/// What a file is for.
#[derive(Clone, Debug, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Checked,
    Log,
    Engine,
    Unread,
}

/// One damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub harm: Harm,
    pub role: Role,
    /// In the data directory.
    pub file: PathBuf,
    pub offset: usize,
    /// Where the sectors came from, if from another file.
    pub source: Option<PathBuf>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (role, file) = (self.role, self.file.display());
        write!(f, "{:?} of {role} {file} at {}", self.harm, self.offset)?;
        match &self.source {
            Some(source) => write!(f, " from {}", source.display()),
            None => Ok(()),
        }
    }
}

/// Damages something of a role in a data directory; nothing where there is nothing of it.
///
/// # Errors
/// What the disk says.
pub fn damage(data: &Path, role: Role, random: &mut ChaCha8Rng) -> io::Result<Option<Damage>> {
    let directory = Directory::read(data)?;
    if directory.of_kind(role.kind()).is_empty() {
        return Ok(None);
    }
    for _ in 0..TRIES {
        if let Some((done, after)) = directory.draw(role, random)? {
            let path = data.join(&done.file);
            match after {
                Some(after) => fs::write(path, after)?,
                None => fs::remove_file(path)?,
            }
            return Ok(Some(done));
        }
    }
    Err(io::Error::other(format!("no damage to {role} could be drawn")))
}

/// A data directory before it is damaged.
struct Directory<'a> {
    data: &'a Path,
    /// Those that hold anything, in order.
    files: Vec<(Kind, PathBuf)>,
    records: Records,
}

impl<'a> Directory<'a> {
    fn read(data: &'a Path) -> io::Result<Self> {
        let mut files = Vec::new();
        collect(data, Path::new(""), &mut files)?;
        files.sort();
        Ok(Self {
            data,
            files,
            records: Records::read(data)?,
        })
    }

    fn of_kind(&self, kind: Kind) -> Vec<&PathBuf> {
        let of_kind = self.files.iter().filter(|(found, _)| *found == kind);
        of_kind.map(|(_, file)| file).collect()
    }

    /// One draw, and what the file holds afterwards, if it is there; nothing where it is no damage of the
    /// role.
    fn draw(&self, role: Role, random: &mut ChaCha8Rng) -> io::Result<Option<(Damage, Option<Vec<u8>>)>> {
        let file = self.draw_file(role, random);
        let before = fs::read(self.data.join(file))?;
        let mut done = Damage {
            harm: draw_harm(random),
            role,
            file: file.clone(),
            offset: 0,
            source: None,
        };
        let after = match done.harm {
            Harm::Missing => None,
            harm => {
                done.offset = self.draw_offset(role, file, before.len(), random);
                let mut after = before.clone();
                match harm {
                    Harm::Misdirected(Source::OtherFile) => {
                        done.source = self.misdirect(role.kind(), &done, &mut after, random)?;
                    }
                    harm => harm_bytes(harm, done.offset, &mut after, random),
                }
                Some(after)
            }
        };
        let changes = after.as_ref() != Some(&before);
        let fits = self.is_of(role, file, &before, after.as_deref());
        Ok((changes && fits).then_some((done, after)))
    }

    /// In the log the place decides, not the file.
    fn is_of(&self, role: Role, file: &Path, before: &[u8], after: Option<&[u8]>) -> bool {
        role.kind() != Kind::Log || self.records.must_be_seen(file, before, after) == (role == Role::Record)
    }

    /// There is one of the role's kind.
    fn draw_file(&self, role: Role, random: &mut ChaCha8Rng) -> &PathBuf {
        let mut files = self.of_kind(role.kind());
        if role == Role::Record && random.random_range(0..100) < IN_USE_PERCENT {
            files.retain(|file| self.records.end_of(file).1);
        }
        files[random.random_range(0..files.len())]
    }

    fn draw_offset(&self, role: Role, file: &Path, len: usize, random: &mut ChaCha8Rng) -> usize {
        let end = match role {
            Role::Record => self.records.end_of(file).0,
            Role::Checked | Role::Slack | Role::Engine | Role::Unread => len,
        };
        random.random_range(0..end)
    }

    /// Sectors of another file of the kind, where those of this one belong. Of other engines first the file
    /// of the same name: what stands in it looks right.
    fn misdirect(
        &self,
        kind: Kind,
        done: &Damage,
        bytes: &mut [u8],
        random: &mut ChaCha8Rng,
    ) -> io::Result<Option<PathBuf>> {
        let mut others = self.of_kind(kind);
        others.retain(|other| **other != done.file);
        if kind == Kind::Engine {
            others.retain(|other| replica_of(other) != replica_of(&done.file));
            let namesake = |other: &&PathBuf| other.file_name() == done.file.file_name();
            if others.iter().any(namesake) {
                others.retain(namesake);
            }
        }
        if others.is_empty() {
            return Ok(None);
        }
        let other = others[random.random_range(0..others.len())];
        let source = fs::read(self.data.join(other))?;
        let begin = done.offset - done.offset % SECTOR_BYTES;
        let end = (begin + draw_sectors(random)).min(bytes.len()).min(source.len());
        if begin < end {
            bytes[begin..end].copy_from_slice(&source[begin..end]);
        }
        Ok(Some(other.clone()))
    }
}

fn draw_harm(random: &mut ChaCha8Rng) -> Harm {
    let source = [Source::SameFile, Source::OtherFile][random.random_range(0..2)];
    let harms = [
        Harm::BitFlip,
        Harm::Overwrite,
        Harm::Missing,
        Harm::Misdirected(source),
    ];
    harms[random.random_range(0..harms.len())]
}

fn draw_sectors(random: &mut ChaCha8Rng) -> usize {
    SECTOR_BYTES * random.random_range(1..=SECTORS_MAX)
}

fn harm_bytes(harm: Harm, offset: usize, bytes: &mut [u8], random: &mut ChaCha8Rng) {
    let begin = offset - offset % SECTOR_BYTES;
    match harm {
        Harm::BitFlip => bytes[offset] ^= 1 << random.random_range(0..8),
        Harm::Overwrite => {
            let end = (begin + SECTOR_BYTES).min(bytes.len());
            random.fill(&mut bytes[begin..end]);
        }
        Harm::Misdirected(Source::SameFile) => {
            let from = random.random_range(0..bytes.len());
            let from = from - from % SECTOR_BYTES;
            let len = draw_sectors(random);
            let len = len.min(bytes.len() - begin).min(bytes.len() - from);
            bytes.copy_within(from..from + len, begin);
        }
        Harm::Misdirected(Source::OtherFile) | Harm::Missing => {}
    }
}

fn collect(data: &Path, below: &Path, files: &mut Vec<(Kind, PathBuf)>) -> io::Result<()> {
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
            files.push((kind_of(&path), path));
        }
    }
    Ok(())
}

fn kind_of(path: &Path) -> Kind {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let within = |part: &str| path.iter().any(|found| found == part);
    match name {
        "LOCK" | "proposed-plan" | "effects.part" => Kind::Unread,
        _ if name.ends_with(".spare") || name.ends_with(".tmp") => Kind::Unread,
        _ if name.ends_with(".seg") => Kind::Log,
        _ if within("engine") => Kind::Engine,
        _ => Kind::Checked,
    }
}

/// The directory of the replica that a file belongs to: `replicas/<id>`.
fn replica_of(path: &Path) -> PathBuf {
    path.iter().take(2).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;

    use super::*;

    const ALL: [Role; 5] = [
        Role::Checked,
        Role::Record,
        Role::Slack,
        Role::Engine,
        Role::Unread,
    ];
    const DRAWS: u32 = 60;

    /// A log as it is, and what else a node has, of anything.
    async fn directory() -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        records::tests::write_log(data.path(), 100).await;
        let names = ["LOCK", "plan", "plan-copy", "wal/1.spare", "wal.damaged/1.seg"];
        let engines = ["replicas/1/g/engine/slabs/64", "replicas/2/g/engine/slabs/64"];
        let more = ["replicas/1/g/engine/cookie", "replicas/1/g/CHECKPOINT"];
        for (number, name) in names.into_iter().chain(engines).chain(more).enumerate() {
            let path = data.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut bytes = vec![0; 3_000];
            ChaCha8Rng::seed_from_u64(number as u64).fill(&mut bytes[..]);
            fs::write(path, bytes).unwrap();
        }
        data
    }

    fn draws(data: &Path, role: Role) -> Vec<Damage> {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let directory = Directory::read(data).unwrap();
        let draws = (0..DRAWS).filter_map(|_| directory.draw(role, &mut random).unwrap());
        draws.map(|(damage, _)| damage).collect()
    }

    #[tokio::test]
    async fn each_role_gets_every_harm_and_no_other_file() {
        let data = directory().await;
        for role in ALL {
            let draws = draws(data.path(), role);
            assert!(
                draws.iter().all(|draw| kind_of(&draw.file) == role.kind()),
                "{role}"
            );
            assert!(draws.iter().all(|draw| !draw.file.starts_with("wal.damaged")));
            let harms: BTreeSet<Harm> = draws.iter().map(|draw| draw.harm).collect();
            let sources = [Source::SameFile, Source::OtherFile].map(Harm::Misdirected);
            let wanted = [Harm::BitFlip, Harm::Overwrite, Harm::Missing]
                .into_iter()
                .chain(sources);
            assert_eq!(harms, wanted.collect(), "{role}");
        }
    }

    #[tokio::test]
    async fn sectors_of_an_engine_come_from_another_replica_and_of_a_log_from_another_segment() {
        let data = directory().await;
        for role in [Role::Engine, Role::Record] {
            let crossed = draws(data.path(), role)
                .into_iter()
                .filter(|draw| draw.harm == Harm::Misdirected(Source::OtherFile));
            for draw in crossed {
                let source = draw.source.unwrap();
                assert_eq!(kind_of(&source), role.kind());
                assert_ne!(source, draw.file);
                let of_another = replica_of(&source) != replica_of(&draw.file);
                assert!(of_another || role == Role::Record, "{}", source.display());
            }
        }
    }

    #[tokio::test]
    async fn a_seed_is_a_damage_and_nothing_is_none() {
        let done = |role| async move {
            let data = directory().await;
            let mut random = ChaCha8Rng::seed_from_u64(5);
            let done = damage(data.path(), role, &mut random).unwrap().unwrap();
            (done.clone(), fs::read(data.path().join(done.file)).ok())
        };
        for role in ALL {
            assert_eq!(done(role).await.1, done(role).await.1, "{role}");
        }
        let data = tempfile::tempdir().unwrap();
        records::tests::write_log(data.path(), 1).await;
        let mut random = ChaCha8Rng::seed_from_u64(5);
        assert_eq!(damage(data.path(), Role::Engine, &mut random).unwrap(), None);
    }
}
