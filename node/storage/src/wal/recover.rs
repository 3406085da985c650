//! Opening a log: reads every segment, tells a torn tail from damage, and leaves a tail that can be written to.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use spine_mutants::mutant;

use super::error::{Damage, WalError};
use super::frame::{HEADER_BYTES, Header, Salt};
use super::live::Live;
use super::prepare::{Prepared, Preparer};
use super::record::Kind;
use super::replay::{Position, Replay};
use super::segment::{self, FORMAT, FileName, HEAD_BYTES, IDENTITY};
use super::shared::Group;
use super::window::Window;
use super::writer::Active;
use crate::disk::{Disk, DiskFile};

/// Number of a store's first segment.
pub(super) const FIRST_SEGMENT: u64 = 1;

/// What a log holds.
pub(super) struct Recovered {
    pub(super) groups: BTreeMap<u64, Group>,
    pub(super) live: Live,
    pub(super) segments: BTreeMap<u64, Arc<dyn DiskFile>>,
    pub(super) active: Active,
}

/// Where the records of a segment end.
enum End {
    /// Behind a seal: the next segment goes on.
    Sealed,
    /// At this offset.
    Open(u32),
}

struct Found {
    segments: Vec<u64>,
    spares: Vec<String>,
    identity: bool,
}

fn look(disk: &dyn Disk, dir: &Path) -> io::Result<Found> {
    let mut found = Found {
        segments: Vec::new(),
        spares: Vec::new(),
        identity: false,
    };
    for name in disk.list(dir)? {
        match segment::parse_name(&name) {
            FileName::Segment(number) => found.segments.push(number),
            FileName::Spare => found.spares.push(name),
            FileName::Identity => found.identity = true,
            FileName::Other => {}
        }
    }
    Ok(found)
}

fn identity_bytes(store_uuid: &[u8; 16]) -> Vec<u8> {
    let mut bytes = FORMAT.to_le_bytes().to_vec();
    bytes.extend_from_slice(store_uuid);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn check_identity(bytes: &[u8], store_uuid: &[u8; 16]) -> Result<(), WalError> {
    let damage = || Damage {
        segment: 0,
        offset: 0,
        reason: "identity file",
    };
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(damage)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err(damage().into());
    }
    let (format, uuid) = body.split_first_chunk::<4>().ok_or_else(damage)?;
    match u32::from_le_bytes(*format) {
        FORMAT if uuid == store_uuid => Ok(()),
        FORMAT => Err(WalError::AnotherStore),
        other => Err(WalError::Format(other)),
    }
}

/// Opens the log in `dir`, or begins one; spare and prepared files go to the preparer.
pub(super) fn recover(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    store_uuid: &[u8; 16],
    preparer: &Preparer,
) -> Result<Recovered, WalError> {
    disk.create_dir_all(dir)?;
    let mut found = look(disk.as_ref(), dir)?;
    if found.identity {
        check_identity(&disk.read(&dir.join(IDENTITY))?, store_uuid)?;
    } else {
        begin(disk.as_ref(), dir, store_uuid, preparer, &found)?;
        found = look(disk.as_ref(), dir)?;
    }
    let spares = std::mem::take(&mut found.spares);
    let recovery = Recovery {
        disk: disk.as_ref(),
        dir,
        store_uuid,
        replay: Replay::default(),
    };
    let (recovered, ready) = recovery.run(&found.segments)?;
    preparer.adopt(recovered.active.segment, ready, spares);
    Ok(recovered)
}

/// Makes a new log: its first segment, and last its identity. What a crash in the middle of that left is removed.
fn begin(
    disk: &dyn Disk,
    dir: &Path,
    store_uuid: &[u8; 16],
    preparer: &Preparer,
    found: &Found,
) -> Result<(), WalError> {
    for number in &found.segments {
        let path = segment::segment_path(dir, *number);
        let file = disk.open(&path, false)?;
        let mut window = Window::new(file.as_ref())?;
        let salt = Salt::new(store_uuid, *number);
        let ours = match segment::check_head(&mut window, salt, *number) {
            Ok(()) => true,
            Err(WalError::Damaged(_)) => false,
            Err(other) => return Err(other),
        };
        let used = !segment::find_headers(&mut window, salt, HEAD_BYTES)?.is_empty();
        if used || !ours || *number != FIRST_SEGMENT {
            return Err(Damage {
                segment: 0,
                offset: 0,
                reason: "identity file is missing",
            }
            .into());
        }
        disk.remove_file(&path)?;
    }
    for spare in &found.spares {
        disk.remove_file(&dir.join(spare))?;
    }
    disk.sync_dir(dir)?;
    preparer.prepare()?;
    disk.write_atomic(&dir.join(IDENTITY), &identity_bytes(store_uuid))?;
    Ok(())
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    store_uuid: &'a [u8; 16],
    replay: Replay,
}

impl Recovery<'_> {
    fn run(mut self, numbers: &[u64]) -> Result<(Recovered, Option<Prepared>), WalError> {
        let damage = |segment, reason| Damage {
            segment,
            offset: 0,
            reason,
        };
        if let Some(pair) = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1) {
            return Err(damage(pair[0] + 1, "segment is missing").into());
        }
        let mut segments = BTreeMap::new();
        let mut tail: Option<(u64, u32)> = None;
        let mut ready = None;
        for number in numbers {
            let file = self.disk.open(&segment::segment_path(self.dir, *number), false)?;
            let mut window = Window::new(file.as_ref())?;
            let salt = Salt::new(self.store_uuid, *number);
            segment::check_head(&mut window, salt, *number)?;
            if let Some((tail_segment, offset)) = tail {
                // Only a prepared segment may stand behind the tail.
                let used = !segment::find_headers(&mut window, salt, HEAD_BYTES)?.is_empty();
                if used || ready.is_some() {
                    let offset = u64::from(offset);
                    let reason = "bad record in front of good ones";
                    return Err(Damage {
                        segment: tail_segment,
                        offset,
                        reason,
                    }
                    .into());
                }
                ready = Some(Prepared {
                    segment: *number,
                    file,
                });
                continue;
            }
            if let End::Open(offset) = self.scan(*number, salt, &mut window)? {
                wipe_tail(&mut window, salt, *number, offset)?;
                tail = Some((*number, offset));
            }
            segments.insert(*number, file);
        }
        let (segment, offset) = tail.ok_or_else(|| damage(0, "the last segment is missing"))?;
        let file = segments
            .get(&segment)
            .map(Arc::clone)
            .ok_or_else(|| damage(segment, "segment is missing"))?;
        let active = Active::new(self.store_uuid, segment, file, offset)?;
        let (groups, live) = self.replay.finish()?;
        Ok((
            Recovered {
                groups,
                live,
                segments,
                active,
            },
            ready,
        ))
    }

    /// Takes in the records of one segment.
    fn scan(&mut self, segment: u64, salt: Salt, window: &mut Window<'_>) -> Result<End, WalError> {
        let mut offset = HEAD_BYTES;
        loop {
            let begin = window.at(u64::from(offset), HEADER_BYTES as usize)?;
            let Some(header) = Header::parse(salt, offset, begin) else {
                return Ok(End::Open(offset));
            };
            let payload = window.at(u64::from(offset + HEADER_BYTES), header.len as usize)?;
            if !header.fits(salt, offset, payload) {
                return Ok(End::Open(offset));
            }
            self.replay
                .apply(Position { segment, offset }, &header, payload)?;
            if header.kind == Kind::Seal as u8 {
                return Ok(End::Sealed);
            }
            let len = u32::try_from(header.frame_bytes()).expect("the payload is inside the segment");
            offset += len;
        }
    }
}

/// Makes sure that what follows the last good record is the remains of a write that was never acknowledged, and that
/// nothing of it can be taken for a record later.
fn wipe_tail(window: &mut Window<'_>, salt: Salt, segment: u64, tail: u32) -> Result<(), WalError> {
    let remains = segment::find_headers(window, salt, tail)?;
    if remains.iter().any(|(_, header)| header.synced > tail) && !mutant!("log-cut-at-damage") {
        let offset = u64::from(tail);
        return Err(Damage {
            segment,
            offset,
            reason: "bad record in front of good ones",
        }
        .into());
    }
    let file = window.file;
    for (offset, _) in &remains {
        file.write_all_at(&[0; HEADER_BYTES as usize], u64::from(*offset))?;
    }
    if !remains.is_empty() {
        file.sync_data()?;
    }
    Ok(())
}
