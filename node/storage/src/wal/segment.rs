//! Segment files: their names, their first frame, and the search for frames in them.

use std::io;
use std::path::{Path, PathBuf};

use super::error::Damage;
use super::frame::{self, HEADER_BYTES, Header, Salt, Spot};
use super::record::{Cursor, Kind};
use crate::disk::DiskFile;

/// Bytes before the first record of a segment: its head has a block of its own.
pub(super) const HEAD_BYTES: u32 = 4096;
/// Format of segments and frames.
pub(super) const FORMAT: u32 = 1;
/// The block that a search skips at once.
const ZEROS: [u8; 4096] = [0; 4096];

/// A file of the log's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileName {
    /// A segment in use or prepared, by number.
    Segment(u64),
    /// A file to make a segment from.
    Spare,
    Identity,
    Other,
}

pub(super) const IDENTITY: &str = "identity";

pub(super) fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:016x}.wal"))
}

pub(super) fn spare_name(number: u64) -> String {
    format!("{number:016x}.spare")
}

pub(super) fn parse_name(name: &str) -> FileName {
    if name == IDENTITY {
        return FileName::Identity;
    }
    match name.split_once('.') {
        Some((number, "wal")) if number.len() == 16 => {
            u64::from_str_radix(number, 16).map_or(FileName::Other, FileName::Segment)
        }
        Some((_, "spare")) => FileName::Spare,
        _ => FileName::Other,
    }
}

/// Writes the head that makes a file this segment; not durable yet.
pub(super) fn write_head(file: &dyn DiskFile, store_uuid: &[u8; 16], segment: u64) -> io::Result<()> {
    let mut head = Vec::with_capacity(HEAD_BYTES as usize);
    let spot = Spot {
        salt: Salt::new(store_uuid, segment),
        offset: 0,
        synced: 0,
    };
    frame::put(&mut head, spot, 0, Kind::Segment, |buffer| {
        buffer.extend_from_slice(&FORMAT.to_le_bytes());
        buffer.extend_from_slice(&segment.to_le_bytes());
    });
    head.resize(HEAD_BYTES as usize, 0);
    file.write_all_at(&head, 0)
}

/// Checks that the bytes of a whole segment begin with its head.
pub(super) fn check_head(bytes: &[u8], salt: Salt, segment: u64) -> Result<(), Damage> {
    let damage = |reason| Damage {
        segment,
        offset: 0,
        reason,
    };
    let header = Header::parse(salt, 0, bytes).ok_or_else(|| damage("head of the segment"))?;
    let payload = header
        .payload(salt, 0, bytes)
        .ok_or_else(|| damage("head of the segment"))?;
    let mut cursor = Cursor::new(payload);
    let right = cursor.number32() == Some(FORMAT) && cursor.number() == Some(segment);
    if right && header.kind == Kind::Segment as u8 {
        Ok(())
    } else {
        Err(damage("head names another segment"))
    }
}

/// Offsets and headers of everything after `from` that carries a right header of this segment, whole or not.
pub(super) fn find_headers(bytes: &[u8], salt: Salt, from: u32) -> Vec<(u32, Header)> {
    let mut found = Vec::new();
    let mut at = from.next_multiple_of(frame::ALIGN_BYTES) as usize;
    while at + HEADER_BYTES as usize <= bytes.len() {
        if bytes[at..].starts_with(&ZEROS) {
            // A header could begin in the last 24 bytes of the zeros only with zeros in front, which none has.
            at += ZEROS.len();
            continue;
        }
        let block_end = (at + ZEROS.len()).min(bytes.len());
        while at < block_end && at + HEADER_BYTES as usize <= bytes.len() {
            let offset = u32::try_from(at).expect("a segment is smaller than 4 GiB");
            if let Some(header) = Header::parse(salt, offset, &bytes[at..]) {
                found.push((offset, header));
            }
            at += frame::ALIGN_BYTES as usize;
        }
    }
    found
}
