//! Checksummed frames for the small files of a replica: `len(4 LE) | crc32c(4 LE) | bytes`.

use crate::engine::EngineError;

/// Bytes in front of a frame's content.
const FRAME_HEADER_BYTES: usize = 8;
/// Content longer than this is a broken length, not a frame; a stored record stays far below.
const FRAME_CONTENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Appends one frame.
pub(crate) fn write_frame(out: &mut Vec<u8>, content: &[u8]) {
    let len = u32::try_from(content.len()).expect("contents are records and states, bounded far below 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&checksum(len, content).to_le_bytes());
    out.extend_from_slice(content);
}

/// The length is under the checksum too, so that a run of zeros is no frame.
fn checksum(len: u32, content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&len.to_le_bytes()) ^ 0x5350_4e45, content)
}

/// Calls `each` for every sound frame from the beginning and returns how many bytes they took.
pub(crate) fn read_frames<'a, E>(
    mut bytes: &'a [u8],
    mut each: impl FnMut(&'a [u8]) -> Result<(), E>,
) -> Result<usize, E> {
    let whole = bytes.len();
    while let Some((content, rest)) = split_frame(bytes) {
        each(content)?;
        bytes = rest;
    }
    Ok(whole - bytes.len())
}

fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = bytes.split_at_checked(FRAME_HEADER_BYTES)?;
    let (len, crc) = header.split_at(4);
    let len = u32::from_le_bytes(len.try_into().ok()?);
    let crc = u32::from_le_bytes(crc.try_into().ok()?);
    let size = usize::try_from(len).ok()?;
    if size > FRAME_CONTENT_BYTES_MAX {
        return None;
    }
    let (content, rest) = rest.split_at_checked(size)?;
    (checksum(len, content) == crc).then_some((content, rest))
}

/// A whole file that is one frame.
pub(crate) fn wrap_one(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME_HEADER_BYTES + content.len());
    write_frame(&mut out, content);
    out
}

/// The content of a file written as [`wrap_one`].
pub(crate) fn unwrap_one<'a>(bytes: &'a [u8], what: &str) -> Result<&'a [u8], EngineError> {
    match split_frame(bytes) {
        Some((content, [])) => Ok(content),
        _ => Err(EngineError::Damaged(format!("{what}: bad checksum or length"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_end_at_the_first_bad_byte() {
        let mut file = Vec::new();
        write_frame(&mut file, b"one");
        let first = file.len();
        write_frame(&mut file, b"two");
        let count = |bytes: &[u8]| {
            let mut n = 0;
            let used = read_frames(bytes, |_| -> Result<(), ()> {
                n += 1;
                Ok(())
            });
            (n, used.expect("never fails"))
        };
        assert_eq!(count(&file), (2, file.len()));
        for at in first..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 1;
            assert_eq!(count(&bad), (1, first), "byte {at}");
            assert_eq!(count(&file[..at]), (1, first), "cut at {at}");
        }
        assert_eq!(count(&[0; 64]), (0, 0), "zeros are no frame");
        assert!(unwrap_one(&file, "two frames").is_err());
        assert_eq!(unwrap_one(&wrap_one(b"x"), "one").ok(), Some(&b"x"[..]));
    }
}
