//! The data directory: one process at a time, ours and of a format we know, with room to write.
//!
//! `LOCK` holds the process's id and is locked while it lives; `IDENTITY` says whose data this is. Identity, log
//! and state each name the store, so that a part which went missing is seen. The identity has a copy beside it, written
//! first: where the one is damaged or gone, the other takes its place.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use spine_proto::storage::v1::NodeIdentity;
use spine_storage::disk::Disk;

use crate::version::STORED_FORMAT;

/// Layout of a directory that is begun. A later one is not written before all nodes read it.
const FIRST_FORMAT: u32 = 1;
const LOCK: &str = "LOCK";
const IDENTITY: &str = "IDENTITY";
const IDENTITY_COPY: &str = "IDENTITY-COPY";
/// What a crash while the identity is written may leave.
const UNFINISHED: [&str; 2] = ["IDENTITY.tmp", "IDENTITY-COPY.tmp"];
/// First bytes of the identity file.
const MAGIC: &[u8; 8] = b"SPINEID\0";
/// Leading bytes of the BLAKE3 hash of the content.
const CHECKSUM_BYTES: usize = 8;
/// A process id with its line end fits in far less.
const PID_BYTES_MAX: u64 = 32;

/// Why a data directory cannot be used. Nothing has been changed in it.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("the data directory {} is in use by process {pid}", dir.display())]
    Locked { dir: PathBuf, pid: String },
    #[error("{} holds {found:?} but no identity: it is not a data directory of Spine, or a part of it was lost; \
             a node never starts on it", dir.display())]
    NoIdentity { dir: PathBuf, found: String },
    #[error("{} is damaged: {why}", path.display())]
    Damaged { path: PathBuf, why: &'static str },
    #[error("{} has stored format {found} and this program reads {FIRST_FORMAT} to {newest}; install a release that reads it", dir.display())]
    Format { dir: PathBuf, found: u32, newest: u32 },
    #[error("{} was made with storage.engine = {stored:?}, the configuration says {configured:?}; \
             an engine is fixed for the life of a data directory", dir.display())]
    Engine {
        dir: PathBuf,
        stored: String,
        configured: String,
    },
    #[error("{} already belongs to another node or cluster", dir.display())]
    Taken { dir: PathBuf },
    #[error("only {free} bytes are free in {}; storage.min_free_bytes asks for {needed}", dir.display())]
    NoSpace { dir: PathBuf, free: u64, needed: u64 },
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// Whose data a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Made with the directory; log and state name it too.
    pub store_uuid: [u8; 16],
    /// `sled` or `fjall`.
    pub engine: String,
    /// None before the cluster is initialised.
    pub member: Option<Membership>,
    /// Layout of the directory.
    pub format: u32,
}

/// A node's place in a cluster; never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    pub cluster_id: [u8; 16],
    pub node_id: u64,
}

/// A held lock; ends with the process or when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Creates the directory if it is not there and locks it. Real processes only: simulated ones share nothing.
    ///
    /// # Errors
    /// `Locked` with the holder's process id, or `Io`.
    pub fn take(dir: &Path) -> Result<Self, DataDirError> {
        std::fs::create_dir_all(dir).map_err(|source| io_error("create", dir, source))?;
        let path = dir.join(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| io_error("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirError::Locked {
                    dir: dir.to_path_buf(),
                    pid: holder(&file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io_error("lock", &path, source)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|source| io_error("write", &path, source))?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &File) -> String {
    let mut text = String::new();
    match file.take(PID_BYTES_MAX).read_to_string(&mut text) {
        Ok(n) if n > 0 => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// Refuses a disk that is nearly full.
///
/// # Errors
/// `NoSpace` with both numbers, or `Io`.
pub fn check_space(disk: &dyn Disk, dir: &Path, min_free_bytes: u64) -> Result<u64, DataDirError> {
    let free = disk
        .free_bytes(dir)
        .map_err(|source| io_error("ask for the free space of", dir, source))?;
    if free < min_free_bytes {
        return Err(DataDirError::NoSpace {
            dir: dir.to_path_buf(),
            free,
            needed: min_free_bytes,
        });
    }
    Ok(free)
}

/// As [`open_within`], up to the newest format of this release.
///
/// # Errors
/// As [`open_within`].
pub fn open(
    disk: &dyn Disk,
    dir: &Path,
    engine: &str,
    new_store_uuid: [u8; 16],
) -> Result<Identity, DataDirError> {
    open_within(disk, dir, engine, new_store_uuid, STORED_FORMAT)
}

/// Reads the identity, of any format up to the newest one that the program reads, or makes one in a directory that holds
/// nothing yet.
///
/// # Errors
/// `NoIdentity` where there is data without one; `Damaged`, `Format`, `Engine`; `Io`.
pub fn open_within(
    disk: &dyn Disk,
    dir: &Path,
    engine: &str,
    new_store_uuid: [u8; 16],
    newest_format: u32,
) -> Result<Identity, DataDirError> {
    if let Some(identity) = read_within(disk, dir, newest_format)? {
        mend(disk, dir, &identity, newest_format)?;
        if identity.engine != engine {
            return Err(DataDirError::Engine {
                dir: dir.to_path_buf(),
                stored: identity.engine,
                configured: engine.to_owned(),
            });
        }
        return Ok(identity);
    }
    disk.create_dir_all(dir)
        .map_err(|source| io_error("create", dir, source))?;
    let names = disk.list(dir).map_err(|source| io_error("list", dir, source))?;
    if let Some(found) = names
        .into_iter()
        .find(|name| name != LOCK && !UNFINISHED.contains(&name.as_str()))
    {
        return Err(DataDirError::NoIdentity {
            dir: dir.to_path_buf(),
            found,
        });
    }
    let identity = Identity {
        store_uuid: new_store_uuid,
        engine: engine.to_owned(),
        member: None,
        format: FIRST_FORMAT,
    };
    write(disk, dir, &identity)?;
    Ok(identity)
}

/// Makes the directory a member's, durably, once; the same membership again changes nothing.
///
/// # Errors
/// `Taken` where it already is another's; `Damaged`, `Format`; `Io`.
pub fn join(disk: &dyn Disk, dir: &Path, member: Membership) -> Result<Identity, DataDirError> {
    let Some(mut identity) = read(disk, dir)? else {
        return Err(DataDirError::NoIdentity {
            dir: dir.to_path_buf(),
            found: "nothing".to_owned(),
        });
    };
    match identity.member {
        Some(same) if same == member => return Ok(identity),
        Some(_) => {
            return Err(DataDirError::Taken {
                dir: dir.to_path_buf(),
            });
        }
        None => identity.member = Some(member),
    }
    write(disk, dir, &identity)?;
    Ok(identity)
}

/// The identity, if there is one.
///
/// # Errors
/// `Damaged`, `Format`, `Io`.
pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Identity>, DataDirError> {
    read_within(disk, dir, STORED_FORMAT)
}

/// Of a damaged or missing identity the copy is read.
fn read_within(disk: &dyn Disk, dir: &Path, newest_format: u32) -> Result<Option<Identity>, DataDirError> {
    let first = read_file(disk, dir, IDENTITY, newest_format);
    if !matches!(first, Ok(None) | Err(DataDirError::Damaged { .. })) {
        return first;
    }
    match read_file(disk, dir, IDENTITY_COPY, newest_format) {
        Ok(Some(identity)) => Ok(Some(identity)),
        Ok(None) | Err(DataDirError::Damaged { .. }) => first,
        Err(error) => Err(error),
    }
}

/// Sees to it that either file is whole: one that is damaged or gone gets what was read of the other. A directory of an
/// earlier release has no copy yet.
fn mend(disk: &dyn Disk, dir: &Path, identity: &Identity, newest_format: u32) -> Result<(), DataDirError> {
    for name in [IDENTITY_COPY, IDENTITY] {
        match read_file(disk, dir, name, newest_format) {
            Ok(None) | Err(DataDirError::Damaged { .. }) => {}
            Ok(Some(_)) => continue,
            Err(error) => return Err(error),
        }
        tracing::warn!(
            file = name,
            "an identity was damaged or not there; it is mended from the other"
        );
        let path = dir.join(name);
        disk.write_atomic(&path, &encode(identity))
            .map_err(|source| io_error("write", &path, source))?;
    }
    Ok(())
}

fn read_file(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    newest_format: u32,
) -> Result<Option<Identity>, DataDirError> {
    let path = dir.join(name);
    if !disk
        .exists(&path)
        .map_err(|source| io_error("look for", &path, source))?
    {
        return Ok(None);
    }
    let bytes = disk
        .read(&path)
        .map_err(|source| io_error("read", &path, source))?;
    decode(dir, &path, &bytes, newest_format).map(Some)
}

fn write(disk: &dyn Disk, dir: &Path, identity: &Identity) -> Result<(), DataDirError> {
    for name in [IDENTITY_COPY, IDENTITY] {
        let path = dir.join(name);
        disk.write_atomic(&path, &encode(identity))
            .map_err(|source| io_error("write", &path, source))?;
    }
    Ok(())
}

fn encode(identity: &Identity) -> Vec<u8> {
    let message = NodeIdentity {
        format: identity.format,
        cluster_id: identity
            .member
            .map(|m| m.cluster_id.to_vec())
            .unwrap_or_default()
            .into(),
        node_id: identity.member.map_or(0, |m| m.node_id),
        store_uuid: identity.store_uuid.to_vec().into(),
        engine: identity.engine.clone(),
    };
    let content = message.encode_to_vec();
    let hash = blake3::hash(&content);
    [&MAGIC[..], &hash.as_bytes()[..CHECKSUM_BYTES], &content].concat()
}

fn decode(dir: &Path, path: &Path, bytes: &[u8], newest: u32) -> Result<Identity, DataDirError> {
    let damaged = |why| DataDirError::Damaged {
        path: path.to_path_buf(),
        why,
    };
    let rest = bytes
        .strip_prefix(&MAGIC[..])
        .ok_or_else(|| damaged("it does not begin as an identity does"))?;
    let (checksum, content) = rest
        .split_at_checked(CHECKSUM_BYTES)
        .ok_or_else(|| damaged("it is too short"))?;
    if blake3::hash(content).as_bytes()[..CHECKSUM_BYTES] != *checksum {
        return Err(damaged("its checksum is wrong"));
    }
    let message = NodeIdentity::decode(content).map_err(|_| damaged("its content is not an identity"))?;
    if !(FIRST_FORMAT..=newest).contains(&message.format) {
        return Err(DataDirError::Format {
            dir: dir.to_path_buf(),
            found: message.format,
            newest,
        });
    }
    let store_uuid = message
        .store_uuid
        .as_ref()
        .try_into()
        .map_err(|_| damaged("its store id is not 16 bytes"))?;
    let member = match message.cluster_id.len() {
        0 => None,
        _ => Some(Membership {
            cluster_id: message
                .cluster_id
                .as_ref()
                .try_into()
                .map_err(|_| damaged("its cluster id is not 16 bytes"))?,
            node_id: message.node_id,
        }),
    };
    Ok(Identity {
        store_uuid,
        engine: message.engine,
        member,
        format: message.format,
    })
}

fn io_error(what: &'static str, path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io {
        what,
        path: path.to_path_buf(),
        source,
    }
}
