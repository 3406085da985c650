//! What a run did, as lines and as one hash.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// Takes note of everything observable in a run. Two runs of one seed must give one hash.
#[derive(Clone)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    hasher: blake3::Hasher,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// With `keep`, lines can be shown afterwards; the hash is the same without.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        let inner = Inner {
            hasher: blake3::Hasher::new(),
            events: 0,
            lines: keep.then(Vec::new),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Notes one event at a virtual time.
    pub fn note(&self, at_ms: u64, event: fmt::Arguments<'_>) {
        let line = format!("{at_ms:>7} ms  {event}");
        let mut inner = self.inner.lock();
        inner.events += 1;
        inner.hasher.update(line.as_bytes());
        inner.hasher.update(b"\n");
        if let Some(lines) = &mut inner.lines {
            lines.push(line);
        }
    }

    /// First 16 hexadecimal digits of the hash of all events so far.
    #[must_use]
    pub fn hash(&self) -> String {
        let hex = self.inner.lock().hasher.finalize().to_hex();
        hex.as_str().chars().take(16).collect()
    }

    #[must_use]
    pub fn events(&self) -> u64 {
        self.inner.lock().events
    }

    /// The lines kept since the last call.
    #[must_use]
    pub fn take_lines(&self) -> Vec<String> {
        self.inner
            .lock()
            .lines
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_every_event_and_not_on_keeping() {
        let hash = |keep, events: &[u64]| {
            let trace = Trace::new(keep);
            for event in events {
                trace.note(1, format_args!("event {event}"));
            }
            trace.hash()
        };
        assert_eq!(hash(true, &[1, 2]), hash(false, &[1, 2]));
        assert_ne!(hash(true, &[1, 2]), hash(true, &[2, 1]));
    }
}
