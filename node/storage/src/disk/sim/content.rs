//! The bytes of one simulated file: what programs see, and what the medium holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Bytes of a page: the unit in which content is kept and shared.
const PAGE_BYTES: usize = 4096;
/// Bytes of a sector: the unit in which unsynced content survives or not.
const SECTOR_BYTES: usize = 512;

const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

type Page = Arc<Vec<u8>>;

/// Sparse content; an absent page reads as zeros.
#[derive(Clone, Default)]
struct Image {
    pages: BTreeMap<u64, Page>,
    len: u64,
}

/// A file's content twice: as written, and as durable.
#[derive(Clone, Default)]
pub(super) struct Content {
    seen: Image,
    durable: Image,
    dirty: BTreeSet<u64>,
    /// The last write: its end may be torn in the middle of a sector.
    last_write_end: u64,
    /// Everything in front of this was written once and takes room, zeros too.
    written_end: u64,
    /// Open handles; an unlinked file lives as long as one is left.
    pub(super) handles: u64,
}

/// How much of what was not durable survives a power cut.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    Nothing,
    Everything,
    Some,
}

impl Fate {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        match rng.random_range(0..4_u8) {
            0 => Self::Nothing,
            1 => Self::Everything,
            _ => Self::Some,
        }
    }

    pub(super) fn survives(self, rng: &mut ChaCha8Rng) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Some => rng.random_bool(0.5),
        }
    }
}

/// Splits a byte range into (page, start in page, length).
fn pages_of(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let page_bytes = PAGE_BYTES as u64;
    let mut at = offset;
    let mut left = len;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let page = at / page_bytes;
        let start = usize::try_from(at % page_bytes).expect("less than a page");
        let part = left.min(PAGE_BYTES - start);
        at += part as u64;
        left -= part;
        Some((page, start, part))
    })
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.seen.len
    }

    /// Bytes that take room.
    pub(super) fn allocated_bytes(&self) -> u64 {
        self.written_end.next_multiple_of(PAGE_BYTES as u64)
    }

    /// Bytes that a write would newly take.
    pub(super) fn growth_bytes(&self, offset: u64, len: usize) -> u64 {
        let end = (offset + len as u64).next_multiple_of(PAGE_BYTES as u64);
        end.saturating_sub(self.allocated_bytes())
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.saturating_add(buf.len() as u64) > self.seen.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = buf;
        for (page, start, part) in pages_of(offset, rest.len()) {
            let (head, tail) = rest.split_at_mut(part);
            match self.seen.pages.get(&page) {
                Some(bytes) => head.copy_from_slice(&bytes[start..start + part]),
                None => head.fill(0),
            }
            rest = tail;
        }
        Ok(())
    }

    pub(super) fn write(&mut self, buf: &[u8], offset: u64) {
        let mut rest = buf;
        for (page, start, part) in pages_of(offset, buf.len()) {
            let (head, tail) = rest.split_at(part);
            rest = tail;
            let absent = !self.seen.pages.contains_key(&page);
            if absent && *head == ZEROS[..part] {
                continue;
            }
            let bytes = self
                .seen
                .pages
                .entry(page)
                .or_insert_with(|| Arc::new(vec![0; PAGE_BYTES]));
            Arc::make_mut(bytes)[start..start + part].copy_from_slice(head);
            self.dirty.insert(page);
        }
        self.last_write_end = offset + buf.len() as u64;
        self.written_end = self.written_end.max(self.last_write_end);
        self.seen.len = self.seen.len.max(self.last_write_end);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.seen.len {
            let first_gone = len.div_ceil(PAGE_BYTES as u64);
            for (page, _) in self.seen.pages.split_off(&first_gone) {
                self.dirty.insert(page);
            }
            let keep = usize::try_from(len % PAGE_BYTES as u64).expect("less than a page");
            if keep != 0
                && let Some(bytes) = self.seen.pages.get_mut(&(len / PAGE_BYTES as u64))
            {
                Arc::make_mut(bytes)[keep..].fill(0);
                self.dirty.insert(len / PAGE_BYTES as u64);
            }
        }
        self.seen.len = len;
        self.written_end = self.written_end.min(len);
    }

    pub(super) fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            match self.seen.pages.get(&page) {
                Some(bytes) => self.durable.pages.insert(page, Arc::clone(bytes)),
                None => self.durable.pages.remove(&page),
            };
        }
        self.durable.len = self.seen.len;
    }

    /// Forgets what is not durable.
    pub(super) fn lose_unsynced(&mut self) {
        self.dirty.clear();
        self.see_durable();
    }

    /// Keeps what is durable and, by luck, parts of what is not.
    pub(super) fn power_cut(&mut self, rng: &mut ChaCha8Rng) {
        let fate = Fate::draw(rng);
        let written = std::mem::take(&mut self.seen);
        let shrunk = written.len < self.durable.len && fate.survives(rng);
        let mut end = if shrunk { written.len } else { self.durable.len };
        for page in std::mem::take(&mut self.dirty) {
            let zeros = Arc::new(vec![0; PAGE_BYTES]);
            let new = written.pages.get(&page).unwrap_or(&zeros);
            let mut kept = self
                .durable
                .pages
                .get(&page)
                .map_or_else(|| zeros.to_vec(), |bytes| bytes.to_vec());
            for sector in 0..PAGE_BYTES / SECTOR_BYTES {
                let start = sector * SECTOR_BYTES;
                let base = page * PAGE_BYTES as u64 + start as u64;
                if base >= written.len || !fate.survives(rng) {
                    continue;
                }
                let mut len = SECTOR_BYTES;
                if (base..base + SECTOR_BYTES as u64).contains(&self.last_write_end) && rng.random_bool(0.5) {
                    len = rng.random_range(0..=SECTOR_BYTES);
                }
                kept[start..start + len].copy_from_slice(&new[start..start + len]);
                end = end.max((base + len as u64).min(written.len));
            }
            self.durable.pages.insert(page, Arc::new(kept));
        }
        self.durable.len = end;
        self.see_durable();
        self.handles = 0;
    }

    fn see_durable(&mut self) {
        self.seen = self.durable.clone();
        self.written_end = self.seen.len;
    }

    /// Flips every bit of a byte range, seen and durable.
    pub(super) fn corrupt(&mut self, offset: u64, len: u64) -> io::Result<()> {
        if offset.saturating_add(len) > self.seen.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = usize::try_from(len).map_err(io::Error::other)?;
        for image in [&mut self.seen, &mut self.durable] {
            for (page, start, part) in pages_of(offset, len) {
                let bytes = image
                    .pages
                    .entry(page)
                    .or_insert_with(|| Arc::new(vec![0; PAGE_BYTES]));
                for byte in &mut Arc::make_mut(bytes)[start..start + part] {
                    *byte = !*byte;
                }
            }
        }
        Ok(())
    }
}
