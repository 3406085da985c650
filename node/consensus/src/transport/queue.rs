//! Frames that wait to be written on one connection, bounded by bytes, in order of arrival.
//!
//! Arrival order is what makes groups take turns: each has a few frames of limited size under way.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Notify, Semaphore};

use super::counters::{Counters, add};
use super::limits::{SEND_QUEUE_BYTES_MAX, WRITE_BATCH_BYTES};

pub(crate) struct SendQueue {
    frames: Mutex<VecDeque<Bytes>>,
    /// Free bytes. Fair: who asks first gets first.
    room: Semaphore,
    filled: Notify,
}

impl SendQueue {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            frames: Mutex::default(),
            room: Semaphore::new(SEND_QUEUE_BYTES_MAX),
            filled: Notify::new(),
        })
    }

    /// Waits for room. False if the connection is closed.
    pub(crate) async fn push(&self, frame: Bytes) -> bool {
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let Ok(permit) = self.room.acquire_many(bytes).await else {
            return false;
        };
        permit.forget();
        self.put(frame);
        true
    }

    /// False if there is no room now.
    pub(crate) fn try_push(&self, frame: Bytes) -> bool {
        let bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let Ok(permit) = self.room.try_acquire_many(bytes) else {
            return false;
        };
        permit.forget();
        self.put(frame);
        true
    }

    fn put(&self, frame: Bytes) {
        self.frames.lock().push_back(frame);
        self.filled.notify_one();
    }

    /// Nobody waits for room any more.
    pub(crate) fn close(&self) {
        self.room.close();
        self.frames.lock().clear();
    }

    /// Everything that waits goes out in as few writes as possible. Ends with the connection.
    pub(crate) async fn write_to<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut W,
        counters: &Counters,
    ) -> io::Result<()> {
        let mut batch = BytesMut::new();
        loop {
            self.filled.notified().await;
            // What the tasks that are ready now send, too, goes out with it.
            tokio::task::yield_now().await;
            while let Some((first, count)) = self.take(&mut batch) {
                let bytes = first.len() + batch.len();
                // One large frame is not copied.
                if !first.is_empty() {
                    writer.write_all(&first).await?;
                }
                if !batch.is_empty() {
                    writer.write_all(&batch).await?;
                    batch.clear();
                }
                writer.flush().await?;
                add(&counters.frames_sent, count);
                add(&counters.bytes_sent, bytes);
                add(&counters.writes, 1);
                self.room.add_permits(bytes);
            }
        }
    }

    /// Either one large frame, or many small ones in the batch.
    fn take(&self, batch: &mut BytesMut) -> Option<(Bytes, usize)> {
        let mut frames = self.frames.lock();
        let first = frames.pop_front()?;
        if first.len() >= WRITE_BATCH_BYTES {
            return Some((first, 1));
        }
        batch.extend_from_slice(&first);
        let mut count = 1;
        while let Some(next) = frames.front() {
            if batch.len() + next.len() > WRITE_BATCH_BYTES {
                break;
            }
            batch.extend_from_slice(next);
            frames.pop_front();
            count += 1;
        }
        Some((Bytes::new(), count))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn frames_share_writes_and_keep_their_order() {
        let queue = SendQueue::new();
        let counters = Arc::new(Counters::default());
        let (mut writer, mut reader) = tokio::io::duplex(1 << 20);
        for n in 0..100u8 {
            assert!(queue.try_push(Bytes::copy_from_slice(&[n])));
        }
        let (used, counted) = (queue.clone(), counters.clone());
        let writes = tokio::spawn(async move { used.write_to(&mut writer, &counted).await });
        let mut got = [0; 100];
        reader.read_exact(&mut got).await.unwrap();
        assert!(got.iter().copied().eq(0..100));
        assert_eq!(counters.values().writes, 1);
        assert_eq!(counters.values().frames_sent, 100);
        writes.abort();
    }

    #[tokio::test]
    async fn a_full_queue_makes_callers_wait_until_it_closes() {
        let queue = SendQueue::new();
        let big = Bytes::from(vec![0; SEND_QUEUE_BYTES_MAX]);
        assert!(queue.try_push(big));
        assert!(!queue.try_push(Bytes::from_static(b"x")));
        let waits = timeout(Duration::from_millis(20), queue.push(Bytes::from_static(b"x")));
        assert!(waits.await.is_err());
        queue.close();
        assert!(!queue.push(Bytes::from_static(b"x")).await);
    }
}
