//! Frames: a length of four bytes, little endian, then one encoded `PeerFrame`.
//!
//! A length is only a claim. Memory follows the bytes that really come.

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use spine_proto::internal::raft::v1::{PeerFrame, peer_frame::Body};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::counters::{Counters, add};
use super::error::PeerError;
use super::limits::{LENGTH_BYTES, READ_AHEAD_BYTES};

/// Why no frame came.
#[derive(Debug)]
pub(crate) enum FrameError {
    /// The other side closed, or the network broke. Not our doing.
    Ended,
    /// Too long or no `PeerFrame`.
    Garbage,
}

impl From<io::Error> for FrameError {
    fn from(_: io::Error) -> Self {
        Self::Ended
    }
}

/// The frame with its length before it.
pub(crate) fn encode(call_id: u64, body: Option<Body>) -> Bytes {
    let frame = PeerFrame { call_id, body };
    let length = frame.encoded_len();
    let mut buf = BytesMut::with_capacity(LENGTH_BYTES + length);
    buf.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
    // A BytesMut grows: encoding cannot run out of room.
    frame.encode(&mut buf).expect("a BytesMut always has room");
    buf.freeze()
}

/// Like [`encode`], if the frame is short enough for its lane.
pub(crate) fn encode_within(call_id: u64, body: Option<Body>, bytes_max: usize) -> Result<Bytes, PeerError> {
    let frame = PeerFrame { call_id, body };
    let bytes = frame.encoded_len();
    if bytes > bytes_max {
        return Err(PeerError::TooLarge { bytes });
    }
    Ok(encode(frame.call_id, frame.body))
}

/// Reads frames. Cancel-safe: a dropped `next` loses nothing.
pub(crate) struct FrameReader<R> {
    inner: R,
    buf: BytesMut,
    counters: Arc<Counters>,
    on_bytes: Option<Box<dyn Fn(u64) + Send + Sync>>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(inner: R, buf: BytesMut, counters: Arc<Counters>) -> Self {
        Self {
            inner,
            buf,
            counters,
            on_bytes: None,
        }
    }

    /// Tells somebody of every read, also of parts of frames.
    pub(crate) fn on_bytes(&mut self, told: impl Fn(u64) + Send + Sync + 'static) {
        self.on_bytes = Some(Box::new(told));
    }

    /// The stream, to write to it between frames.
    pub(crate) fn stream(&mut self) -> &mut R {
        &mut self.inner
    }

    /// The stream and what was read beyond the last frame.
    pub(crate) fn into_parts(self) -> (R, BytesMut) {
        (self.inner, self.buf)
    }

    /// The next frame and its length in bytes.
    pub(crate) async fn next(&mut self, bytes_max: usize) -> Result<(PeerFrame, usize), FrameError> {
        while self.buf.len() < LENGTH_BYTES {
            self.fill(READ_AHEAD_BYTES).await?;
        }
        let claimed = u32::from_le_bytes([self.buf[0], self.buf[1], self.buf[2], self.buf[3]]);
        let length = usize::try_from(claimed).unwrap_or(usize::MAX);
        if length > bytes_max {
            return Err(FrameError::Garbage);
        }
        let whole = LENGTH_BYTES + length;
        while self.buf.len() < whole {
            let missing = whole - self.buf.len();
            self.fill(missing.min(READ_AHEAD_BYTES)).await?;
        }
        self.buf.advance(LENGTH_BYTES);
        let payload = self.take(length);
        add(&self.counters.frames_received, 1);
        add(&self.counters.bytes_received, whole);
        let frame = PeerFrame::decode(payload).map_err(|_| FrameError::Garbage)?;
        Ok((frame, length))
    }

    async fn fill(&mut self, ahead: usize) -> Result<(), FrameError> {
        self.buf.reserve(ahead);
        let bytes = self.inner.read_buf(&mut self.buf).await?;
        if bytes == 0 {
            return Err(FrameError::Ended);
        }
        if let Some(told) = &self.on_bytes {
            told(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Small payloads are copied: a decoded entry that somebody keeps must not hold its neighbours' memory.
    fn take(&mut self, length: usize) -> Bytes {
        if length < READ_AHEAD_BYTES {
            let payload = Bytes::copy_from_slice(&self.buf[..length]);
            self.buf.advance(length);
            payload
        } else {
            let payload = self.buf.split_to(length).freeze();
            // What follows gets memory of its own, so that one large frame leaves no large buffer.
            self.buf = BytesMut::from(&self.buf[..]);
            payload
        }
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.buf.capacity()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use spine_proto::internal::raft::v1::StatusRequest;

    fn reader(inner: tokio::io::DuplexStream) -> FrameReader<tokio::io::DuplexStream> {
        FrameReader::new(inner, BytesMut::new(), Arc::default())
    }

    #[tokio::test]
    async fn frames_come_back_however_they_are_cut() {
        let (mut from, to) = tokio::io::duplex(7);
        let mut reader = reader(to);
        let writes = tokio::spawn(async move {
            for id in 0..50 {
                let body = Body::Status(StatusRequest {});
                from.write_all(&encode(id, Some(body))).await.unwrap();
            }
            from
        });
        for id in 0..50 {
            let (frame, _) = reader.next(100).await.unwrap();
            assert_eq!(frame.call_id, id);
        }
        drop(writes.await.unwrap());
        assert!(matches!(reader.next(100).await, Err(FrameError::Ended)));
    }

    #[tokio::test]
    async fn a_claimed_length_takes_no_memory() {
        let (mut from, to) = tokio::io::duplex(64);
        let mut reader = reader(to);
        from.write_all(&(8u32 << 20).to_le_bytes()).await.unwrap();
        from.write_all(b"few bytes").await.unwrap();
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), reader.next(8 << 20));
        assert!(waited.await.is_err());
        assert!(reader.capacity() <= 2 * READ_AHEAD_BYTES, "{}", reader.capacity());
    }

    #[tokio::test]
    async fn a_length_beyond_the_limit_and_a_broken_message_are_garbage() {
        for bytes in [&[0xff, 0xff, 0xff, 0xff][..], &[3, 0, 0, 0, 0xff, 0xff, 0xff]] {
            let (mut from, to) = tokio::io::duplex(64);
            let mut reader = reader(to);
            from.write_all(bytes).await.unwrap();
            assert!(matches!(reader.next(1024).await, Err(FrameError::Garbage)));
        }
    }
}
