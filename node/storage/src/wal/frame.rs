//! How the log lies on the disk.
//!
//! A segment is a header and then batches. A batch is what one fdatasync made durable: {magic, length, sequence,
//! crc32c} and records. Its checksum is salted with the store's uuid, the segment's number and the batch's place, so
//! that bytes of an earlier life of the file, or of another file, never pass for a batch. As a batch is only begun
//! when the one before it is durable, a bad batch is a torn tail if and only if no valid batch follows it.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::ids::{LogId, Vote};

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 64;
/// Bytes of a batch's header.
pub(super) const BATCH_HEADER_BYTES: usize = 20;
/// Bytes before a record's payload.
pub(super) const RECORD_HEADER_BYTES: usize = 17;
/// Batches begin at multiples of this.
pub(super) const ALIGN_BYTES: u64 = 16;
/// Stored format of the log.
pub(super) const FORMAT: u32 = 1;

const SEGMENT_MAGIC: &[u8; 8] = b"SPINEWAL";
const BATCH_MAGIC: u32 = 0x5350_4231;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// The replica begins to exist.
    Created,
    /// An entry; whatever had its index or a higher one is gone.
    Entry(LogId, Bytes),
    /// The same entry as before, written again so that its old segment can go.
    Moved(LogId, Bytes),
    /// The newest vote.
    Vote(Vote),
    /// Newest entry known to be committed.
    Committed(LogId),
    /// Entries above this index are gone; `None` means all.
    Truncate(Option<u64>),
    /// Entries up to this one are gone.
    Purge(LogId),
    /// Nothing follows in this segment.
    Seal,
}

/// Salt of a segment's checksums.
#[derive(Clone, Copy)]
pub(super) struct Salt(u32);

impl Salt {
    pub(super) fn of(store_uuid: &[u8; 16], segment: u64) -> Self {
        Self(crc32c::crc32c_append(
            crc32c::crc32c(store_uuid),
            &segment.to_be_bytes(),
        ))
    }

    fn at(self, offset: u64) -> u32 {
        crc32c::crc32c_append(self.0, &offset.to_be_bytes())
    }
}

pub(super) fn segment_header(store_uuid: &[u8; 16], segment: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(64);
    header.put_slice(SEGMENT_MAGIC);
    header.put_u32(FORMAT);
    header.put_slice(store_uuid);
    header.put_u64(segment);
    header.put_u32(crc32c::crc32c(&header));
    header.resize(64, 0);
    header
}

/// What a segment's first bytes say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderIs {
    Ours,
    /// Never finished: torn, zero, or of the file's earlier life.
    Unfinished,
    OtherFormat(u32),
    OtherStore,
}

pub(super) fn read_segment_header(bytes: &[u8], store_uuid: &[u8; 16], segment: u64) -> HeaderIs {
    let Some((body, mut crc)) = bytes.get(..36).zip(bytes.get(36..40)) else {
        return HeaderIs::Unfinished;
    };
    if &body[..8] != SEGMENT_MAGIC || crc.get_u32() != crc32c::crc32c(body) {
        return HeaderIs::Unfinished;
    }
    let mut rest = &body[8..];
    let format = rest.get_u32();
    if format != FORMAT {
        return HeaderIs::OtherFormat(format);
    }
    if &rest[..16] != store_uuid {
        return HeaderIs::OtherStore;
    }
    rest.advance(16);
    if rest.get_u64() == segment {
        HeaderIs::Ours
    } else {
        HeaderIs::Unfinished
    }
}

/// Collects records into one batch.
pub(super) struct BatchWriter {
    buf: BytesMut,
}

impl BatchWriter {
    pub(super) fn new() -> Self {
        let mut buf = BytesMut::with_capacity(64 * 1024);
        buf.put_bytes(0, BATCH_HEADER_BYTES);
        Self { buf }
    }

    pub(super) fn len(&self) -> usize {
        self.buf.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buf.len() == BATCH_HEADER_BYTES
    }

    /// Adds a record; returns where it begins in the batch and its length.
    pub(super) fn push(&mut self, group: u64, record: &Record) -> (u32, u32) {
        let start = self.buf.len();
        self.buf.put_bytes(0, RECORD_HEADER_BYTES);
        let kind = encode_payload(record, &mut self.buf);
        let payload = start + RECORD_HEADER_BYTES;
        let len = u32::try_from(self.buf.len() - payload).unwrap_or(u32::MAX);
        let mut head = [0; RECORD_HEADER_BYTES];
        head[..4].copy_from_slice(&len.to_be_bytes());
        head[8..16].copy_from_slice(&group.to_be_bytes());
        head[16] = kind;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head[8..]), &self.buf[payload..]);
        head[4..8].copy_from_slice(&crc.to_be_bytes());
        self.buf[start..payload].copy_from_slice(&head);
        (
            u32::try_from(start).unwrap_or(u32::MAX),
            u32::try_from(self.buf.len() - start).unwrap_or(u32::MAX),
        )
    }

    /// The bytes to write at `offset`.
    pub(super) fn finish(mut self, salt: Salt, sequence: u64, offset: u64) -> Bytes {
        let len = u32::try_from(self.buf.len() - BATCH_HEADER_BYTES).unwrap_or(u32::MAX);
        self.buf[..4].copy_from_slice(&BATCH_MAGIC.to_be_bytes());
        self.buf[4..8].copy_from_slice(&len.to_be_bytes());
        self.buf[8..16].copy_from_slice(&sequence.to_be_bytes());
        let crc = batch_crc(salt, offset, &self.buf);
        self.buf[16..20].copy_from_slice(&crc.to_be_bytes());
        self.buf.freeze()
    }
}

fn batch_crc(salt: Salt, offset: u64, batch: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(salt.at(offset), &batch[..16]);
    crc32c::crc32c_append(head, &batch[BATCH_HEADER_BYTES..])
}

/// A batch that checks out: its sequence and its whole bytes, header included.
pub(super) fn read_batch(segment: &Bytes, offset: u64, salt: Salt) -> Option<(u64, Bytes)> {
    let at = usize::try_from(offset).ok()?;
    let mut head = segment.get(at..at + BATCH_HEADER_BYTES)?;
    if head.get_u32() != BATCH_MAGIC {
        return None;
    }
    let len = usize::try_from(head.get_u32()).ok()?;
    let sequence = head.get_u64();
    let crc = head.get_u32();
    let end = at.checked_add(BATCH_HEADER_BYTES)?.checked_add(len)?;
    if end > segment.len() {
        return None;
    }
    let batch = segment.slice(at..end);
    (batch_crc(salt, offset, &batch) == crc).then_some((sequence, batch))
}

/// Where the batch after one of this size begins.
pub(super) fn next_offset(offset: u64, batch_bytes: usize) -> u64 {
    (offset + batch_bytes as u64).next_multiple_of(ALIGN_BYTES)
}

/// The records of a batch: (place in the batch, length, group, record). `None` where they do not parse.
pub(super) fn records(batch: &Bytes) -> Option<Vec<(u32, u32, u64, Record)>> {
    let mut records = Vec::new();
    let mut at = BATCH_HEADER_BYTES;
    while at < batch.len() {
        let len = read_len(batch.get(at..)?)?;
        let bytes = batch.slice(at..at.checked_add(len)?.min(batch.len()));
        let (group, record) = read_record(&bytes)?;
        records.push((u32::try_from(at).ok()?, u32::try_from(len).ok()?, group, record));
        at += len;
    }
    Some(records)
}

fn read_len(mut bytes: &[u8]) -> Option<usize> {
    if bytes.len() < RECORD_HEADER_BYTES {
        return None;
    }
    usize::try_from(bytes.get_u32())
        .ok()?
        .checked_add(RECORD_HEADER_BYTES)
}

/// One record, its checksum verified.
pub(super) fn read_record(bytes: &Bytes) -> Option<(u64, Record)> {
    if read_len(bytes)? != bytes.len() {
        return None;
    }
    let mut head = &bytes[4..];
    let crc = head.get_u32();
    if crc32c::crc32c(&bytes[8..]) != crc {
        return None;
    }
    let group = head.get_u64();
    let kind = head.get_u8();
    Some((group, decode_payload(kind, bytes.slice(RECORD_HEADER_BYTES..))?))
}

fn put_log_id(id: LogId, buf: &mut BytesMut) {
    buf.put_u64(id.term);
    buf.put_u64(id.leader);
    buf.put_u64(id.index);
}

fn get_log_id(bytes: &mut Bytes) -> Option<LogId> {
    if bytes.len() < 24 {
        return None;
    }
    Some(LogId {
        term: bytes.get_u64(),
        leader: bytes.get_u64(),
        index: bytes.get_u64(),
    })
}

fn encode_payload(record: &Record, buf: &mut BytesMut) -> u8 {
    match record {
        Record::Created => 1,
        Record::Entry(id, bytes) => {
            put_log_id(*id, buf);
            buf.put_slice(bytes);
            2
        }
        Record::Moved(id, bytes) => {
            put_log_id(*id, buf);
            buf.put_slice(bytes);
            3
        }
        Record::Vote(vote) => {
            buf.put_u64(vote.term);
            buf.put_u64(vote.leader);
            buf.put_u8(u8::from(vote.committed));
            4
        }
        Record::Committed(id) => {
            put_log_id(*id, buf);
            5
        }
        Record::Truncate(keep) => {
            buf.put_u8(u8::from(keep.is_some()));
            buf.put_u64(keep.unwrap_or(0));
            6
        }
        Record::Purge(id) => {
            put_log_id(*id, buf);
            7
        }
        Record::Seal => 8,
    }
}

fn decode_payload(kind: u8, mut payload: Bytes) -> Option<Record> {
    let record = match kind {
        1 => Record::Created,
        2 => Record::Entry(get_log_id(&mut payload)?, payload.split_off(0)),
        3 => Record::Moved(get_log_id(&mut payload)?, payload.split_off(0)),
        4 if payload.len() == 17 => Record::Vote(Vote {
            term: payload.get_u64(),
            leader: payload.get_u64(),
            committed: payload.get_u8() != 0,
        }),
        5 => Record::Committed(get_log_id(&mut payload)?),
        6 if payload.len() == 9 => {
            let some = payload.get_u8() != 0;
            let index = payload.get_u64();
            Record::Truncate(some.then_some(index))
        }
        7 => Record::Purge(get_log_id(&mut payload)?),
        8 => Record::Seal,
        _ => return None,
    };
    payload.is_empty().then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64) -> LogId {
        LogId {
            term: 3,
            leader: 7,
            index,
        }
    }

    fn all() -> Vec<Record> {
        vec![
            Record::Created,
            Record::Entry(id(1), Bytes::from_static(b"entry")),
            Record::Moved(id(2), Bytes::new()),
            Record::Vote(Vote {
                term: 4,
                leader: 9,
                committed: true,
            }),
            Record::Committed(id(1)),
            Record::Truncate(None),
            Record::Truncate(Some(5)),
            Record::Purge(id(1)),
            Record::Seal,
        ]
    }

    #[test]
    fn a_batch_gives_back_its_records() {
        let salt = Salt::of(&[1; 16], 2);
        let mut writer = BatchWriter::new();
        for record in all() {
            writer.push(42, &record);
        }
        let bytes = writer.finish(salt, 9, 64);
        let mut segment = vec![0; 64];
        segment.extend_from_slice(&bytes);
        let segment = Bytes::from(segment);
        let (sequence, batch) = read_batch(&segment, 64, salt).expect("valid");
        assert_eq!(sequence, 9);
        let read: Vec<Record> = records(&batch)
            .expect("parses")
            .into_iter()
            .map(|(_, _, _, r)| r)
            .collect();
        assert_eq!(read, all());
        assert!(
            read_batch(&segment, 64, Salt::of(&[1; 16], 3)).is_none(),
            "another segment's salt"
        );
        for bit in 0..bytes.len() * 8 {
            let mut damaged = segment.to_vec();
            damaged[64 + bit / 8] ^= 1 << (bit % 8);
            assert!(read_batch(&damaged.into(), 64, salt).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn headers_tell_what_they_are() {
        let uuid = [5; 16];
        let header = segment_header(&uuid, 3);
        assert_eq!(header.len() as u64, SEGMENT_HEADER_BYTES);
        assert_eq!(read_segment_header(&header, &uuid, 3), HeaderIs::Ours);
        assert_eq!(read_segment_header(&header, &uuid, 4), HeaderIs::Unfinished);
        assert_eq!(read_segment_header(&header, &[6; 16], 3), HeaderIs::OtherStore);
        assert_eq!(read_segment_header(&[0; 64], &uuid, 3), HeaderIs::Unfinished);
    }
}
