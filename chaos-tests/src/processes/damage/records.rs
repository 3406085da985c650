//! What a log holds that was stopped as planned, and which damage to it its next start must see.
//!
//! Written from the format in `node/storage/src/wal/frame.rs` and not with the code there, which is under
//! test.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where the log is in the data directory.
const DIR: &str = "wal";
/// In its identity file: the format, the store that it is of, a checksum.
const STORE: Range<usize> = 4..20;
const HEADER_BYTES: usize = 32;
const ALIGN_BYTES: usize = 8;
/// The head of a segment has a block of its own.
const HEAD_BYTES: usize = 4096;
/// Reflected polynomial of CRC-32C.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// A record, or the head of a segment.
struct Frame {
    /// Its header and what it holds, without padding.
    bytes: Range<usize>,
    /// What was in front of this was durable when the frame was written.
    synced: usize,
}

/// Everything in the segments of a log that a start reads, and checks.
pub(super) struct Records {
    /// By file in the data directory, oldest first; in each its head is the first.
    segments: BTreeMap<PathBuf, Vec<Frame>>,
}

impl Records {
    pub(super) fn read(data: &Path) -> io::Result<Self> {
        let identity = fs::read(data.join(DIR).join("identity"))?;
        let store = identity
            .get(STORE)
            .ok_or_else(|| io::Error::other("a short identity"))?;
        let mut segments = BTreeMap::new();
        for entry in fs::read_dir(data.join(DIR))? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".seg"));
            let number = number.and_then(|number| u64::from_str_radix(number, 16).ok());
            if let Some(number) = number {
                let file = Path::new(DIR).join(name);
                let bytes = fs::read(data.join(&file))?;
                segments.insert(file, frames(store, number, &bytes));
            }
        }
        Ok(Self { segments })
    }

    /// Where the records of a file end, and whether it has any beside its head.
    pub(super) fn end_of(&self, file: &Path) -> (usize, bool) {
        let frames = self.segments.get(file).map_or(&[][..], Vec::as_slice);
        (frames.last().map_or(0, |last| last.bytes.end), frames.len() > 1)
    }

    /// Whether the next start cannot overlook that a file is like this now, or gone.
    pub(super) fn must_be_seen(&self, file: &Path, before: &[u8], after: Option<&[u8]>) -> bool {
        let Some(frames) = self.segments.get(file) else {
            return false;
        };
        match after {
            Some(after) => self.shows_change(file, frames, before, after),
            None => self.shows_gap(file),
        }
    }

    /// A bad head is seen wherever it is. A bad record is told from the remains of a write that nobody was
    /// told of by what follows: a header that says that the place was durable before, or another segment in
    /// use. The mark of a planned stop is such a header for all that was durable then, but nothing says so of
    /// the mark.
    fn shows_change(&self, file: &Path, frames: &[Frame], before: &[u8], after: &[u8]) -> bool {
        let is_hurt = |frame: &Frame| before.get(frame.bytes.clone()) != after.get(frame.bytes.clone());
        let Some(first) = frames.iter().position(is_hurt) else {
            return false;
        };
        let begin = frames[first].bytes.start;
        let follows = |frame: &Frame| frame.synced > begin && !is_hurt(frame);
        begin == 0 || self.are_used(|other| other > file) || frames[first..].iter().any(follows)
    }

    /// The oldest of several goes as soon as nothing in it is needed; one made in advance is made again.
    fn shows_gap(&self, file: &Path) -> bool {
        let (_, is_used) = self.end_of(file);
        is_used && (self.are_used(|other| other < file) || !self.are_used(|other| other > file))
    }

    fn are_used(&self, which: impl Fn(&Path) -> bool) -> bool {
        let mut found = self.segments.iter().filter(|(file, _)| which(file));
        found.any(|(_, frames)| frames.len() > 1)
    }
}

/// The frames of a segment from its head on, up to the first that is none: files are used again, and what an
/// earlier use left behind the last frame carries other checksums.
fn frames(store: &[u8], segment: u64, bytes: &[u8]) -> Vec<Frame> {
    let salt = crc32c(crc32c(0, store), &segment.to_le_bytes());
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(frame) = frame(salt, at, bytes) {
        let end = frame.bytes.end.next_multiple_of(ALIGN_BYTES);
        at = if at == 0 { HEAD_BYTES } else { end };
        found.push(frame);
    }
    found
}

fn frame(salt: u32, at: usize, bytes: &[u8]) -> Option<Frame> {
    let header = bytes.get(at..at + HEADER_BYTES)?;
    let number = |at: usize| {
        let four = header.get(at..at + 4)?;
        Some(u32::from_le_bytes(four.try_into().ok()?))
    };
    let place = crc32c(salt, &u32::try_from(at).ok()?.to_le_bytes());
    if number(4)? != crc32c(crc32c(place, &header[..4]), &header[8..]) {
        return None;
    }
    let end = at + HEADER_BYTES + usize::try_from(number(0)?).ok()?;
    Some(Frame {
        bytes: at..end,
        synced: usize::try_from(number(12)?).ok()?,
    })
}

fn crc32c(before: u32, bytes: &[u8]) -> u32 {
    let mut crc = !before;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc >>= 1;
            if low == 1 {
                crc ^= POLYNOMIAL;
            }
        }
    }
    !crc
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;
    use spine_storage::disk::RealDisk;
    use spine_storage::ids::LogId;
    use spine_storage::wal::{Driver, GroupLog, Wal, WalError, WalOptions};
    use tokio::sync::oneshot;

    use super::*;

    const STORE: [u8; 16] = [7; 16];
    /// Such that padding follows each.
    const ENTRY_BYTES: usize = 201;
    const SMALL: WalOptions = WalOptions {
        segment_bytes: 16 * 1024,
        cache_bytes: 1024 * 1024,
        queue_bytes: 64 * 1024,
    };

    async fn open(data: &Path) -> Result<Wal, WalError> {
        Wal::open(RealDisk::shared(), &data.join(DIR), STORE, SMALL, Driver::Threads).await
    }

    async fn append(log: &GroupLog, index: u64) {
        let id = LogId {
            term: 1,
            leader: 1,
            index,
        };
        let (done, told) = oneshot::channel();
        let entry = vec![(id, Bytes::from(vec![7; ENTRY_BYTES]))];
        let tell = Box::new(move |result| drop(done.send(result)));
        log.append(entry, tell).await.unwrap();
        told.await.unwrap().unwrap();
    }

    /// A log of so many entries, each durable by itself, that was stopped as planned.
    pub(in super::super) async fn write_log(data: &Path, entries: u64) {
        let wal = open(data).await.unwrap();
        let log = wal.group(1);
        log.create().await.unwrap();
        for index in 1..=entries {
            append(&log, index).await;
        }
        wal.close().await.unwrap();
    }

    /// What a start says of a damage, and that the file is as before afterwards.
    async fn is_seen(data: &Path, file: &Path, harm: impl Fn(&mut Vec<u8>)) -> (bool, bool) {
        let before = fs::read(data.join(file)).unwrap();
        let mut after = before.clone();
        harm(&mut after);
        let records = Records::read(data).unwrap();
        let must = records.must_be_seen(file, &before, Some(&after));
        fs::write(data.join(file), after).unwrap();
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir(copy.path().join(DIR)).unwrap();
        for entry in fs::read_dir(data.join(DIR)).unwrap() {
            let name = entry.unwrap().file_name();
            let (from, to) = (data.join(DIR).join(&name), copy.path().join(DIR).join(&name));
            fs::copy(from, to).unwrap();
        }
        fs::write(data.join(file), before).unwrap();
        (must, matches!(open(copy.path()).await, Err(WalError::Damaged(_))))
    }

    #[tokio::test]
    async fn what_must_be_seen_is_seen_by_the_log_itself() {
        let data = tempfile::tempdir().unwrap();
        write_log(data.path(), 100).await;
        let records = Records::read(data.path()).unwrap();
        let files: Vec<PathBuf> = records.segments.keys().cloned().collect();
        assert!(files.len() >= 3, "sealed, in use, made in advance");
        let (mut must_all, mut slack) = (0, 0);
        for file in &files {
            let (end, _) = records.end_of(file);
            for at in (0..=8).map(|step| (end - 1) * step / 8) {
                let (must, seen) = is_seen(data.path(), file, |bytes| bytes[at] ^= 16).await;
                assert!(seen || !must, "{} at {at} of {end}", file.display());
                must_all += u32::from(must);
                slack += u32::from(!must);
            }
        }
        // The mark of the stop is one of the others.
        assert!(must_all > 20 && slack > 0, "{must_all} {slack}");
    }

    #[tokio::test]
    async fn only_a_gap_that_must_not_be_is_seen() {
        let data = tempfile::tempdir().unwrap();
        write_log(data.path(), 100).await;
        let records = Records::read(data.path()).unwrap();
        let must: Vec<bool> = records
            .segments
            .keys()
            .map(|file| records.must_be_seen(file, &[], None))
            .collect();
        let (last, used) = must.split_last().unwrap();
        assert!(
            !used[0] && used[1..].iter().all(|must| *must) && !last,
            "{must:?}"
        );
    }

    #[tokio::test]
    async fn the_mark_of_a_stop_may_go_unseen_and_what_it_covers_not() {
        let data = tempfile::tempdir().unwrap();
        write_log(data.path(), 3).await;
        let records = Records::read(data.path()).unwrap();
        let file = records.segments.keys().next().unwrap().clone();
        let frames = &records.segments[&file];
        let mark = frames.last().unwrap().bytes.clone();
        let entry = frames[frames.len() - 2].bytes.clone();
        let of_mark = is_seen(data.path(), &file, |bytes| bytes[mark.start] ^= 1).await;
        assert_eq!(of_mark, (false, false));
        let of_entry = is_seen(data.path(), &file, |bytes| bytes[entry.end - 1] ^= 1).await;
        assert_eq!(of_entry, (true, true));
        // Padding behind it.
        assert!(entry.end < mark.start);
        let of_padding = is_seen(data.path(), &file, |bytes| bytes[entry.end] ^= 1).await;
        assert_eq!(of_padding, (false, false));
    }
}
