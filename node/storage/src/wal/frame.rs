//! The unit of the log on disk: a header of 32 bytes, a payload, padding to 8 bytes.
//!
//! ```text
//! 0  len u32           bytes of the payload
//! 4  header crc u32    over the header without this field
//! 8  payload crc u32
//! 12 synced u32        everything of this segment before this offset was durable when the frame was written
//! 16 group u64
//! 24 kind u8, then 7 zero bytes
//! ```
//! Both checksums are salted with store, segment number and offset, so that no frame of a recycled segment, of
//! another store or of another place is ever taken for one of this place. `synced` tells a torn tail from damage.

use spine_mutants::mutant;

use super::record::Kind;

/// Bytes of a frame's header.
pub(super) const HEADER_BYTES: u32 = 32;
/// Frames begin at multiples of this.
pub(super) const ALIGN_BYTES: u32 = 8;

/// What a segment's checksums start from.
#[derive(Clone, Copy)]
pub(super) struct Salt(u32);

impl Salt {
    pub(super) fn new(store_uuid: &[u8; 16], segment: u64) -> Self {
        let segment = if mutant!("recycled-segment-valid") {
            0
        } else {
            segment
        };
        Self(crc32c::crc32c_append(
            crc32c::crc32c(store_uuid),
            &segment.to_le_bytes(),
        ))
    }

    fn at(self, offset: u32) -> u32 {
        crc32c::crc32c_append(self.0, &offset.to_le_bytes())
    }

    fn header_crc(self, offset: u32, header: &[u8; HEADER_BYTES as usize]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(self.at(offset), &header[..4]), &header[8..])
    }
}

/// A header whose checksum is right.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) len: u32,
    payload_crc: u32,
    pub(super) synced: u32,
    pub(super) group: u64,
    pub(super) kind: u8,
}

/// Bytes that a payload takes with header and padding.
pub(super) fn frame_bytes(payload_bytes: u64) -> u64 {
    u64::from(HEADER_BYTES) + payload_bytes.next_multiple_of(u64::from(ALIGN_BYTES))
}

fn u32_at(bytes: &[u8; HEADER_BYTES as usize], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Header {
    /// Reads the header at the start of `bytes`, which stand at `offset`; `None` unless its checksum is right.
    pub(super) fn parse(salt: Salt, offset: u32, bytes: &[u8]) -> Option<Self> {
        let raw: &[u8; HEADER_BYTES as usize] = bytes.first_chunk()?;
        // A cheap test first: a search for frames calls this for every eighth byte.
        let kind = u64::from_le_bytes(*raw[24..].first_chunk()?);
        if !(1..=u64::from(u8::MAX)).contains(&kind) || u32_at(raw, 4) != salt.header_crc(offset, raw) {
            return None;
        }
        let group = u64::from_le_bytes(*raw[16..].first_chunk()?);
        Some(Self {
            len: u32_at(raw, 0),
            payload_crc: u32_at(raw, 8),
            synced: u32_at(raw, 12),
            group,
            kind: raw[24],
        })
    }

    /// Bytes to the next frame.
    pub(super) fn frame_bytes(&self) -> u64 {
        frame_bytes(u64::from(self.len))
    }

    /// Whether this is the whole payload. Stands at `offset`: the header, not the payload.
    pub(super) fn fits(&self, salt: Salt, offset: u32, payload: &[u8]) -> bool {
        let sound = crc32c::crc32c_append(salt.at(offset), payload) == self.payload_crc;
        payload.len() == self.len as usize && (sound || mutant!("torn-tail-accepted"))
    }
}

/// Where a frame goes.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) salt: Salt,
    pub(super) offset: u32,
    pub(super) synced: u32,
}

/// Appends a frame to `buffer`, whose end is `spot.offset` of the segment. `write` appends the payload.
pub(super) fn put(
    buffer: &mut Vec<u8>,
    spot: Spot,
    group: u64,
    kind: Kind,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let start = buffer.len();
    let payload_start = start + HEADER_BYTES as usize;
    buffer.resize(payload_start, 0);
    write(buffer);
    let payload = &buffer[payload_start..];
    let len = u32::try_from(payload.len()).expect("a payload is smaller than a segment");
    let payload_crc = crc32c::crc32c_append(spot.salt.at(spot.offset), payload);
    let mut header = [0; HEADER_BYTES as usize];
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[8..12].copy_from_slice(&payload_crc.to_le_bytes());
    header[12..16].copy_from_slice(&spot.synced.to_le_bytes());
    header[16..24].copy_from_slice(&group.to_le_bytes());
    header[24] = kind as u8;
    let header_crc = spot.salt.header_crc(spot.offset, &header);
    header[4..8].copy_from_slice(&header_crc.to_le_bytes());
    buffer[start..payload_start].copy_from_slice(&header);
    buffer.resize(
        start + (buffer.len() - start).next_multiple_of(ALIGN_BYTES as usize),
        0,
    );
}
