//! Engines: what keeps a replica's checkpointed records on a disk.
//!
//! An engine is never the only copy of anything and nothing is acknowledged by it. It is written by one thread, in
//! sorted batches, and made durable by [`Engine::sync`]; between two syncs it may keep any part of what was written.
//! What an interrupted batch leaves behind is healed by the effects file of [`crate::replica`].

mod brisk;
mod checked;
mod dirs;
mod fjall;
mod memory;
mod sled;
mod sled_files;
mod stuck;
mod watch;

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

pub(crate) use checked::{read_frames, unwrap_one, wrap_one, write_frame};

pub use self::fjall::FjallFactory;
pub use self::memory::MemoryFactory;
pub use self::sled::SledFactory;
pub(crate) use stuck::{Calls, noted};
pub use watch::{EngineCall, EngineWatch};

/// One change of a sorted batch: the key, and its new value or `None` to remove it.
pub type Change = (Bytes, Option<Bytes>);

/// Why an engine refused.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The disk refused. After a failed write or sync the engine takes no more writes: what is durable is unknown.
    #[error("engine disk: {0}")]
    Io(#[from] io::Error),
    /// The files are not what the engine wrote. The replica is deleted and rebuilt.
    #[error("engine is damaged: {0}")]
    Damaged(String),
}

/// An open database of one replica.
///
/// Readers may call at any time from any thread. Writes, syncs and reopens come from one thread at a time.
pub trait Engine: Send + Sync {
    /// The value at `key`.
    ///
    /// # Errors
    /// [`EngineError`] where the files cannot be read or are damaged.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Pairs with `start <= key < end` in key order, at most `limit`; `end` empty means to the last key.
    ///
    /// # Errors
    /// [`EngineError`] where the files cannot be read or are damaged.
    fn range(&self, start: &[u8], end: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, EngineError>;

    /// Applies changes given in strictly ascending key order. Visible on return, durable after [`Engine::sync`].
    ///
    /// # Errors
    /// [`EngineError`]; part of the batch may then be visible, and may be durable.
    fn write_sorted(&self, batch: &[Change]) -> Result<(), EngineError>;

    /// Makes everything written durable.
    ///
    /// # Errors
    /// [`EngineError`]; never retried, see [`EngineError::Io`].
    fn sync(&self) -> Result<(), EngineError>;

    /// Closes and opens the files again, to give memory back. Readers wait meanwhile. Call it only after a sync.
    ///
    /// # Errors
    /// [`EngineError`]; the engine is then unusable.
    fn reopen(&self) -> Result<(), EngineError>;

    /// Bytes of memory a reopen would give back, roughly.
    fn memory_bytes(&self) -> u64;
}

/// Opens engines of one kind.
pub trait EngineFactory: Send + Sync {
    /// The name operators configure, for example `sled`.
    fn name(&self) -> &'static str;

    /// Opens the database in `dir`, or creates it there.
    ///
    /// # Errors
    /// [`EngineError::Damaged`] if the files are not sound, [`EngineError::Io`] for disk trouble.
    fn open(&self, dir: &Path) -> Result<Box<dyn Engine>, EngineError>;
}

/// The engine of a name given by an operator: `sled` or `fjall`.
#[must_use]
pub fn factory_by_name(name: &str) -> Option<Arc<dyn EngineFactory>> {
    match name {
        "sled" => Some(Arc::new(SledFactory::default())),
        "fjall" => Some(Arc::new(FjallFactory::default())),
        _ => None,
    }
}

/// Classifies an error met while opening or reading: broken content is damage, the rest is the disk's.
fn classify(error: io::Error) -> EngineError {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => EngineError::Damaged(error.to_string()),
        _ => EngineError::Io(error),
    }
}

/// Runs a call into a foreign engine; its panic becomes an error, since the engine asserts where files are wrong.
fn guarded<T>(call: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            // Only the first line: an engine's assertion may print keys after it.
            let line = text.lines().next().unwrap_or_default();
            Err(EngineError::Damaged(format!("the engine panicked: {line}")))
        }
    }
}
