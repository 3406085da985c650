//! Creating, opening and removing a replica's directory, and what a crash left in it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::RwLock;
use spine_mutants::mutant;
use spine_proto::storage::v1;
use spine_statemachine::LevelRange;
use tokio::sync::Notify;

use super::codec::{applied_index, decode_current, encode_current};
use super::generation::{Generation, dir_name, parse_dir_name};
use super::limits::CHECKPOINT_STAGGER_DIVISOR;
use super::state::State;
use super::{Inner, OWNER_BYTES_MAX, ReplicaError, ReplicaOptions, ReplicaStore, effects};
use crate::disk::Disk;
use crate::engine::EngineFactory;

/// Names the generation in force; replaced atomically.
const CURRENT_FILE: &str = "CURRENT";

impl ReplicaStore {
    /// Whether state was created in `dir`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn exists(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
        disk.exists(&dir.join(CURRENT_FILE))
    }

    /// Creates empty state in `dir`; durable on return. What an interrupted creation left is replaced.
    ///
    /// # Errors
    /// [`ReplicaError::Exists`], or what the disk and the engine say.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        factory: Arc<dyn EngineFactory>,
        options: ReplicaOptions,
    ) -> Result<Self, ReplicaError> {
        if Self::exists(disk.as_ref(), dir)? {
            return Err(ReplicaError::Exists);
        }
        disk.create_dir_all(dir)?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent)?;
        }
        remove_leftovers(disk.as_ref(), dir, None)?;
        let generation = Generation::open(&disk, dir, 1, factory.as_ref())?;
        let mark = v1::ReplicaState::default();
        generation.engine().write_sorted(&[effects::engine_mark(&mark)])?;
        generation.engine().sync()?;
        generation.write_mark(&mark)?;
        switch(disk.as_ref(), dir, 1, &options.owner)?;
        Self::assemble(disk, dir, factory, options, generation, mark)
    }

    /// Opens the state in `dir` as its last durable mark says, after finishing an interrupted checkpoint.
    ///
    /// # Errors
    /// [`ReplicaError::Missing`], [`ReplicaError::Foreign`], [`ReplicaError::Damaged`] (destroy and rebuild), or what
    /// the disk says.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        factory: Arc<dyn EngineFactory>,
        options: ReplicaOptions,
    ) -> Result<Self, ReplicaError> {
        if !Self::exists(disk.as_ref(), dir)? {
            return Err(ReplicaError::Missing);
        }
        let current = disk.read(&dir.join(CURRENT_FILE))?;
        let (number, owner) = decode_current(&current)?;
        if owner != options.owner {
            return Err(ReplicaError::Foreign {
                owner: owner.to_vec(),
            });
        }
        if !disk.exists(&dir.join(dir_name(number)))? {
            return Err(ReplicaError::Damaged("the generation in force is missing".into()));
        }
        remove_leftovers(disk.as_ref(), dir, Some(number))?;
        let generation = Generation::open(&disk, dir, number, factory.as_ref())?;
        let mark = recover(&generation, options.levels)?;
        Self::assemble(disk, dir, factory, options, generation, mark)
    }

    /// Removes a replica's state, for example a damaged one before it is rebuilt. Nothing may have it open.
    ///
    /// # Errors
    /// What the disk says.
    pub fn destroy(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let current = dir.join(CURRENT_FILE);
        if disk.exists(&current)? {
            // First the pointer, so that a crash leaves nothing that looks whole.
            disk.remove_file(&current)?;
            disk.sync_dir(dir)?;
        }
        if !disk.exists(dir)? {
            return Ok(());
        }
        disk.remove_dir_all(dir)?;
        dir.parent().map_or(Ok(()), |parent| disk.sync_dir(parent))
    }

    fn assemble(
        disk: Arc<dyn Disk>,
        dir: &Path,
        factory: Arc<dyn EngineFactory>,
        options: ReplicaOptions,
        generation: Generation,
        mark: v1::ReplicaState,
    ) -> Result<Self, ReplicaError> {
        let checkpoint_bytes = staggered(options.delta_checkpoint_bytes, dir);
        let state = State::at_mark(Arc::new(generation), mark, checkpoint_bytes, &options)?;
        let next = state.generation.number + 1;
        let inner = Inner {
            disk,
            dir: dir.to_owned(),
            factory,
            options,
            state: RwLock::new(state),
            room: Notify::new(),
            engine_away: AtomicBool::new(false),
            engine_back: Notify::new(),
            fed: Notify::new(),
            next_generation: AtomicU64::new(next),
            checkpointing: AtomicBool::new(false),
            queued: AtomicBool::new(false),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

/// Points the directory at a generation, durably and at once.
pub(crate) fn switch(disk: &dyn Disk, dir: &Path, number: u64, owner: &[u8]) -> Result<(), ReplicaError> {
    if owner.len() > OWNER_BYTES_MAX {
        return Err(ReplicaError::Io(io::Error::other(
            "the owner's label is too long",
        )));
    }
    Ok(disk.write_atomic(&dir.join(CURRENT_FILE), &encode_current(number, owner))?)
}

/// Finishes or forgets an interrupted checkpoint and returns the mark in force. What a later release wrote is left as
/// it is.
fn recover(generation: &Generation, levels: LevelRange) -> Result<v1::ReplicaState, ReplicaError> {
    let mut mark = generation.read_mark()?;
    check_level(levels, &mark)?;
    let damaged = |file: &Vec<u8>| effects::decode(file).is_err();
    let ignored = |file: &Vec<u8>| mutant!("damaged-effects-ignored") && damaged(file);
    if let Some(file) = generation.read_effects()?.filter(|file| !ignored(file)) {
        let effects = effects::decode(&file)?;
        check_level(levels, &effects.state)?;
        if applied_index(&effects.state) > applied_index(&mark) {
            // In between it may hold any part of the effects, but never less than the mark.
            effects::check_engine_mark(generation.engine(), &[&mark, &effects.state])?;
            effects::redo(&effects, generation.engine())?;
            generation.write_mark(&effects.state)?;
            mark = effects.state;
        }
    }
    effects::check_engine_mark(generation.engine(), &[&mark])?;
    generation.remove_effects()?;
    Ok(mark)
}

/// An empty state is of no level yet.
pub(super) fn check_level(levels: LevelRange, state: &v1::ReplicaState) -> Result<(), ReplicaError> {
    match state.applied {
        Some(_) => Ok(levels.check(state.level)?),
        None => Ok(()),
    }
}

/// Removes generations that are not in force: received snapshots that were never switched to, and replaced ones.
/// Durable on return, so that a number can be used again.
fn remove_leftovers(disk: &dyn Disk, dir: &Path, keep: Option<u64>) -> io::Result<()> {
    let mut removed = false;
    for name in disk.list(dir)? {
        if parse_dir_name(&name).is_some_and(|number| Some(number) != keep) {
            disk.remove_dir_all(&dir.join(&name))?;
            removed = true;
        }
    }
    if removed { disk.sync_dir(dir) } else { Ok(()) }
}

/// Takes up to a quarter off, by the directory's name, so that replicas filled alike do not checkpoint at once.
fn staggered(bytes: usize, dir: &Path) -> usize {
    let hash = crc32c::crc32c(dir.as_os_str().as_encoded_bytes());
    let sixteenth = usize::try_from(hash % 16).unwrap_or_default();
    bytes - bytes / CHECKPOINT_STAGGER_DIVISOR / 16 * sixteenth
}
