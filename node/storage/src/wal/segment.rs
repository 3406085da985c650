//! Segment files: their names, their first frame, and the search for frames in them.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{Damage, WalError};
use super::frame::{self, HEADER_BYTES, Header, Salt, Spot};
use super::record::{Cursor, Kind};
use super::window::Window;
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
    dir.join(format!("{segment:016x}.seg"))
}

pub(super) fn spare_name(number: u64) -> String {
    format!("{number:016x}.spare")
}

pub(super) fn parse_name(name: &str) -> FileName {
    if name == IDENTITY {
        return FileName::Identity;
    }
    match name.split_once('.') {
        Some((number, "seg")) if number.len() == 16 => {
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

/// Checks that a segment begins with its head.
pub(super) fn check_head(window: &mut Window<'_>, salt: Salt, segment: u64) -> Result<(), WalError> {
    let damage = |reason| Damage {
        segment,
        offset: 0,
        reason,
    };
    let bytes = window.at(0, HEAD_BYTES as usize)?;
    let header = Header::parse(salt, 0, bytes).ok_or_else(|| damage("head of the segment"))?;
    let payload = bytes[HEADER_BYTES as usize..].get(..header.len as usize);
    let payload = payload
        .filter(|payload| header.fits(salt, 0, payload))
        .ok_or_else(|| damage("head of the segment"))?;
    let mut cursor = Cursor::new(payload);
    let (format, number) = (cursor.number32(), cursor.number());
    if header.kind != Kind::Segment as u8 || number != Some(segment) {
        return Err(damage("head names another segment").into());
    }
    match format {
        Some(FORMAT) => Ok(()),
        // Whole, and written by a later release: nothing is lost, so nothing may be set aside.
        Some(other) => Err(WalError::Format(other)),
        None => Err(damage("head of the segment").into()),
    }
}

/// Offsets and headers of everything after `from` that carries a right header of this segment, whole or not.
pub(super) fn find_headers(window: &mut Window<'_>, salt: Salt, from: u32) -> io::Result<Vec<(u32, Header)>> {
    let mut found = Vec::new();
    let mut at = from.next_multiple_of(frame::ALIGN_BYTES);
    loop {
        // One that begins at the end of the block is looked at, too.
        let bytes = window.at(u64::from(at), ZEROS.len() + HEADER_BYTES as usize)?;
        if bytes.len() < HEADER_BYTES as usize {
            return Ok(found);
        }
        // A header could begin in the last 24 bytes of the zeros only with zeros in front, which none has.
        if !bytes.starts_with(&ZEROS) {
            let offsets = (0..bytes.len().min(ZEROS.len())).step_by(frame::ALIGN_BYTES as usize);
            for (step, offset) in offsets.zip((at..).step_by(frame::ALIGN_BYTES as usize)) {
                if let Some(header) = Header::parse(salt, offset, &bytes[step..]) {
                    found.push((offset, header));
                }
            }
        }
        let block = u32::try_from(ZEROS.len()).expect("a block is small");
        at = at.checked_add(block).expect("a segment is smaller than 4 GiB");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk as _, SimDisk};

    #[test]
    fn a_head_of_another_format_is_no_damage() {
        let (store, segment) = ([7; 16], 3);
        let disk = SimDisk::new(1);
        let path = Path::new("/segment");
        let judge = |format: u32, number: u64| {
            let mut head = Vec::new();
            let salt = Salt::new(&store, segment);
            let spot = Spot {
                salt,
                offset: 0,
                synced: 0,
            };
            frame::put(&mut head, spot, 0, Kind::Segment, |buffer| {
                buffer.extend_from_slice(&format.to_le_bytes());
                buffer.extend_from_slice(&number.to_le_bytes());
            });
            head.resize(HEAD_BYTES as usize, 0);
            disk.write_atomic(path, &head).expect("write");
            let file = disk.open(path, false).expect("open");
            let mut window = Window::new(file.as_ref()).expect("window");
            check_head(&mut window, salt, segment)
        };
        assert!(judge(FORMAT, segment).is_ok());
        assert!(matches!(judge(2, segment), Err(WalError::Format(2))));
        assert!(matches!(judge(FORMAT, 4), Err(WalError::Damaged(_))));
        assert!(matches!(judge(2, 4), Err(WalError::Damaged(_))));
    }
}
