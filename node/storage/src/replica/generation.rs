//! One database directory of a replica: its engine, its mark and its effects file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use spine_mutants::mutant;
use spine_proto::storage::v1;

use super::ReplicaError;
use super::codec::{decode_state, encode_state};
use crate::disk::Disk;
use crate::engine::{Engine, EngineFactory};

const DIR_PREFIX: &str = "generation-";
const ENGINE_DIR: &str = "engine";
const MARK_FILE: &str = "CHECKPOINT";
const EFFECTS_FILE: &str = "effects";
const EFFECTS_PART_FILE: &str = "effects.part";

/// A generation begins as a new replica or as a received snapshot, and ends when a snapshot replaces it.
pub(crate) struct Generation {
    pub(crate) number: u64,
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// Taken only while dropping, so that the files are removed after the engine has closed them.
    engine: Option<Box<dyn Engine>>,
    retired: AtomicBool,
}

/// Name of a generation's directory.
pub(crate) fn dir_name(number: u64) -> String {
    format!("{DIR_PREFIX}{number:08}")
}

/// The number in a directory's name, if it is a generation's.
pub(crate) fn parse_dir_name(name: &str) -> Option<u64> {
    name.strip_prefix(DIR_PREFIX)?.parse().ok()
}

impl Generation {
    /// Opens, or creates, the engine of generation `number` under the replica's directory.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        replica_dir: &Path,
        number: u64,
        factory: &dyn EngineFactory,
    ) -> Result<Self, ReplicaError> {
        let dir = replica_dir.join(dir_name(number));
        let engine_dir = dir.join(ENGINE_DIR);
        disk.create_dir_all(&engine_dir)?;
        let engine = factory.open(&engine_dir)?;
        disk.sync_dir(&engine_dir)?;
        disk.sync_dir(&dir)?;
        disk.sync_dir(replica_dir)?;
        let disk = Arc::clone(disk);
        Ok(Self {
            number,
            dir,
            disk,
            engine: Some(engine),
            retired: AtomicBool::new(false),
        })
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        self.engine.as_deref().expect("taken only in drop")
    }

    /// From now on the directory goes when the last user does.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Takes [`Self::retire`] back.
    pub(crate) fn keep(&self) {
        self.retired.store(false, Ordering::Release);
    }

    /// The state the engine holds, durable.
    pub(crate) fn read_mark(&self) -> Result<v1::ReplicaState, ReplicaError> {
        let path = self.dir.join(MARK_FILE);
        if !self.disk.exists(&path)? {
            return Err(ReplicaError::Damaged("CHECKPOINT is missing".into()));
        }
        decode_state(&self.disk.read(&path)?)
    }

    /// Durable on return.
    pub(crate) fn write_mark(&self, state: &v1::ReplicaState) -> Result<(), ReplicaError> {
        Ok(self
            .disk
            .write_atomic(&self.dir.join(MARK_FILE), &encode_state(state))?)
    }

    /// Writes the effects file under another name first: what bears its name was complete once, so that what does
    /// not verify there is damage and never a torn write.
    pub(crate) fn write_effects(&self, content: &[u8]) -> io::Result<()> {
        let part = self.dir.join(EFFECTS_PART_FILE);
        if self.disk.exists(&part)? {
            self.disk.remove_file(&part)?;
        }
        let file = self.disk.open(&part, true)?;
        file.write_all_at(content, 0)?;
        if !mutant!("effects-not-synced") {
            file.sync_data()?;
        }
        self.disk.rename(&part, &self.dir.join(EFFECTS_FILE))?;
        self.disk.sync_dir(&self.dir)
    }

    /// The effects file of an interrupted checkpoint, if it was completed.
    pub(crate) fn read_effects(&self) -> io::Result<Option<Vec<u8>>> {
        let path = self.dir.join(EFFECTS_FILE);
        if self.disk.exists(&path)? {
            self.disk.read(&path).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Removes effects files; at worst one comes back after a power cut and is found older than the mark.
    pub(crate) fn remove_effects(&self) -> io::Result<()> {
        for name in [EFFECTS_FILE, EFFECTS_PART_FILE] {
            let path = self.dir.join(name);
            if self.disk.exists(&path)? {
                self.disk.remove_file(&path)?;
            }
        }
        Ok(())
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        drop(self.engine.take());
        if self.retired.load(Ordering::Acquire)
            && let Err(error) = self.disk.remove_dir_all(&self.dir)
        {
            tracing::warn!(generation = self.number, %error, "an old generation stays until the next start");
        }
    }
}
