//! The bytes of one file: what programs see, and what the medium holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Bytes of a page: the unit in which content is kept and shared.
const PAGE_BYTES: usize = 4096;
/// Bytes of a sector: the unit in which unsynced content survives a torn cut or not.
const SECTOR_BYTES: usize = 512;

type Page = Arc<Vec<u8>>;

/// Sparse content; an absent page reads as zeros.
#[derive(Clone, Default)]
struct Image {
    pages: BTreeMap<u64, Page>,
    len: u64,
}

/// A file's content twice: as written, and as durable.
#[derive(Default)]
pub(crate) struct Content {
    seen: Image,
    durable: Image,
    dirty: BTreeSet<u64>,
    /// The last write: its end may be torn in the middle of a sector.
    last_write_end: u64,
    /// Everything in front of this takes room, zeros too.
    allocated_end: u64,
}

/// How much of what was not durable survives a power cut.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    Nothing,
    Everything,
    Some,
}

impl Fate {
    /// Without luck nothing survives.
    pub(crate) fn draw(luck: Option<&mut ChaCha8Rng>) -> Self {
        match luck.map(|random| random.random_range(0..4_u8)) {
            None | Some(0) => Self::Nothing,
            Some(1) => Self::Everything,
            Some(_) => Self::Some,
        }
    }

    pub(crate) fn survives(self, luck: Option<&mut ChaCha8Rng>) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Some => luck.is_some_and(|random| random.random_bool(0.5)),
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
        let start = usize::try_from(at % page_bytes).unwrap_or(0);
        let part = left.min(PAGE_BYTES - start);
        at += part as u64;
        left -= part;
        Some((page, start, part))
    })
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        self.seen.len
    }

    /// Bytes that take room.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.allocated_end.next_multiple_of(PAGE_BYTES as u64)
    }

    /// Bytes that a write would newly take.
    pub(crate) fn growth_bytes(&self, offset: u64, len: u64) -> u64 {
        let end = (offset.saturating_add(len)).next_multiple_of(PAGE_BYTES as u64);
        end.saturating_sub(self.allocated_bytes())
    }

    /// At most `len` bytes; fewer at the end.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let left = usize::try_from(self.seen.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(left)];
        let mut rest = bytes.as_mut_slice();
        for (page, start, part) in pages_of(offset, rest.len()) {
            let (head, tail) = rest.split_at_mut(part);
            if let Some(held) = self.seen.pages.get(&page) {
                head.copy_from_slice(&held[start..start + part]);
            }
            rest = tail;
        }
        bytes
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut rest = bytes;
        for (page, start, part) in pages_of(offset, bytes.len()) {
            let (head, tail) = rest.split_at(part);
            rest = tail;
            let absent = !self.seen.pages.contains_key(&page);
            if absent && head.iter().all(|byte| *byte == 0) {
                continue;
            }
            let held = self.seen.pages.entry(page);
            let held = held.or_insert_with(|| Arc::new(vec![0; PAGE_BYTES]));
            Arc::make_mut(held)[start..start + part].copy_from_slice(head);
            self.dirty.insert(page);
        }
        self.last_write_end = offset + bytes.len() as u64;
        self.allocated_end = self.allocated_end.max(self.last_write_end);
        self.seen.len = self.seen.len.max(self.last_write_end);
    }

    /// Takes room, and makes the file longer unless `keep_len`.
    pub(crate) fn allocate(&mut self, offset: u64, len: u64, keep_len: bool) {
        let end = offset.saturating_add(len);
        self.allocated_end = self.allocated_end.max(end);
        if !keep_len {
            self.seen.len = self.seen.len.max(end);
        }
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.seen.len {
            let first_gone = len.div_ceil(PAGE_BYTES as u64);
            for (page, _) in self.seen.pages.split_off(&first_gone) {
                self.dirty.insert(page);
            }
            let keep = usize::try_from(len % PAGE_BYTES as u64).unwrap_or(0);
            let last = len / PAGE_BYTES as u64;
            if keep != 0
                && let Some(held) = self.seen.pages.get_mut(&last)
            {
                Arc::make_mut(held)[keep..].fill(0);
                self.dirty.insert(last);
            }
        }
        self.seen.len = len;
        self.allocated_end = self.allocated_end.min(len);
    }

    pub(crate) fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            match self.seen.pages.get(&page) {
                Some(held) => self.durable.pages.insert(page, Arc::clone(held)),
                None => self.durable.pages.remove(&page),
            };
        }
        self.durable.len = self.seen.len;
    }

    /// Forgets what is not durable.
    pub(crate) fn lose_unsynced(&mut self) {
        self.dirty.clear();
        self.seen = self.durable.clone();
        self.allocated_end = self.seen.len;
    }

    /// Keeps what is durable and, with luck, some sectors of what is not.
    pub(crate) fn power_cut(&mut self, mut luck: Option<&mut ChaCha8Rng>) {
        let fate = Fate::draw(luck.as_deref_mut());
        if let (Some(random), Fate::Everything | Fate::Some) = (luck, fate) {
            self.keep_by_luck(fate, random);
        }
        self.lose_unsynced();
    }

    fn keep_by_luck(&mut self, fate: Fate, random: &mut ChaCha8Rng) {
        let written = std::mem::take(&mut self.seen);
        let shrunk = written.len < self.durable.len && fate.survives(Some(random));
        let mut end = if shrunk { written.len } else { self.durable.len };
        let zeros = Arc::new(vec![0; PAGE_BYTES]);
        for page in std::mem::take(&mut self.dirty) {
            let new = written.pages.get(&page).unwrap_or(&zeros);
            let mut kept = self.durable.pages.get(&page).unwrap_or(&zeros).to_vec();
            for sector in 0..PAGE_BYTES / SECTOR_BYTES {
                let start = sector * SECTOR_BYTES;
                let base = page * PAGE_BYTES as u64 + start as u64;
                if base >= written.len || !fate.survives(Some(random)) {
                    continue;
                }
                let len = self.torn_len(base, random);
                kept[start..start + len].copy_from_slice(&new[start..start + len]);
                end = end.max((base + len as u64).min(written.len));
            }
            self.durable.pages.insert(page, Arc::new(kept));
        }
        self.durable.len = end;
    }

    /// The sector in which the last write ended may be cut at any byte.
    fn torn_len(&self, base: u64, random: &mut ChaCha8Rng) -> usize {
        let last = (base..base + SECTOR_BYTES as u64).contains(&self.last_write_end);
        if last && random.random_bool(0.5) {
            random.random_range(0..=SECTOR_BYTES)
        } else {
            SECTOR_BYTES
        }
    }
}
