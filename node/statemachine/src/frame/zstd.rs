//! zstd over values in memory, with the contexts of each thread kept between calls.

use std::cell::RefCell;

use bytes::Bytes;
use zstd_safe::{CCtx, CParameter, DCtx};

use super::{Dictionary, FrameError};
use crate::limits::RECORD_BYTES_MAX;

/// Level of compression against a neighbour: nearly all of it is one copy at any level.
const LEVEL_AGAINST: i32 = 1;
/// The most a frame may grow to: a record, and what a service wraps it in.
const PLAIN_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;

thread_local! {
    static COMPRESSOR: RefCell<CCtx<'static>> = RefCell::new(compressor());
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

fn compressor() -> CCtx<'static> {
    let mut context = CCtx::create();
    // The value's frame names the dictionary and has a checksum.
    for parameter in [CParameter::DictIdFlag(false), CParameter::ChecksumFlag(false)] {
        context
            .set_parameter(parameter)
            .expect("a flag that every zstd has");
    }
    context
}

/// `None` where it is no smaller.
pub(super) fn compress(value: &[u8], dictionary: Dictionary) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|context| {
        // Only memory can fail, and then the value is stored as it is.
        context.ref_cdict(&dictionary.prepared().compress).ok()?;
        smaller(value, |into| context.compress2(into, value))
    })
}

/// `None` where it is no smaller.
pub(super) fn compress_against(value: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|context| {
        smaller(value, |into| {
            context.compress_using_dict(into, value, other, LEVEL_AGAINST)
        })
    })
}

/// Calls `compress` with room for one byte less than the value has.
fn smaller(
    value: &[u8],
    compress: impl FnOnce(&mut [u8]) -> Result<usize, zstd_safe::ErrorCode>,
) -> Option<Vec<u8>> {
    let mut into = vec![0; value.len().checked_sub(1)?];
    let bytes = compress(&mut into).ok()?;
    into.truncate(bytes);
    Some(into)
}

pub(super) fn decompress(content: &[u8], dictionary: Dictionary) -> Result<Bytes, FrameError> {
    let prepared = dictionary.prepared();
    plain(content, |context, into| {
        context.decompress_using_ddict(into, content, &prepared.decompress)
    })
}

pub(super) fn decompress_against(content: &[u8], other: &[u8]) -> Result<Bytes, FrameError> {
    plain(content, |context, into| {
        context.decompress_using_dict(into, content, other)
    })
}

fn plain(
    content: &[u8],
    decompress: impl FnOnce(&mut DCtx<'static>, &mut [u8]) -> Result<usize, zstd_safe::ErrorCode>,
) -> Result<Bytes, FrameError> {
    let told = zstd_safe::get_frame_content_size(content).ok().flatten();
    let size = told
        .and_then(|size| usize::try_from(size).ok())
        .filter(|size| *size <= PLAIN_BYTES_MAX)
        .ok_or(FrameError::Compressed)?;
    let mut into = vec![0; size];
    let bytes = DECOMPRESSOR.with_borrow_mut(|context| decompress(context, &mut into));
    match bytes {
        Ok(bytes) if bytes == size => Ok(into.into()),
        Ok(_) | Err(_) => Err(FrameError::Compressed),
    }
}
