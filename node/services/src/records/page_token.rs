//! Where the next page begins: version 1, the index of the page before (8 bytes, big endian), the last suffix.
//!
//! A token is not secret and not trusted: it names a position in keys that its holder may read anyway.

use bytes::{BufMut as _, Bytes, BytesMut};
use spine_statemachine::limits::SUFFIX_BYTES_MAX;

use crate::failure::Failure;
use crate::reason;

/// The only form of tokens so far.
const VERSION: u8 = 1;
/// Bytes before the suffix.
const HEADER_BYTES: usize = 9;

/// A position after a record.
pub(super) struct PageToken {
    /// The index that the page before was exact at.
    pub(super) index: u64,
    /// The suffix of its last record.
    pub(super) last_suffix: Bytes,
}

impl PageToken {
    pub(super) fn encode(&self) -> Bytes {
        let mut token = BytesMut::with_capacity(HEADER_BYTES + self.last_suffix.len());
        token.put_u8(VERSION);
        token.put_u64(self.index);
        token.put_slice(&self.last_suffix);
        token.freeze()
    }

    /// The token of a list of suffixes that begin with `prefix`.
    pub(super) fn decode(token: &Bytes, prefix: &[u8]) -> Result<Self, Failure> {
        let refuse = || {
            Failure::invalid(
                reason::INVALID_PAGE_TOKEN,
                "page_token",
                "not a token of this list",
            )
        };
        let index = token.get(1..HEADER_BYTES).ok_or_else(refuse)?;
        let index = u64::from_be_bytes(index.try_into().map_err(|_| refuse())?);
        let last_suffix = token.slice(HEADER_BYTES..);
        let fits = last_suffix.len() <= SUFFIX_BYTES_MAX && last_suffix.starts_with(prefix);
        if token.first() == Some(&VERSION) && fits {
            Ok(Self { index, last_suffix })
        } else {
            Err(refuse())
        }
    }
}
