//! Bytes of one stream that have arrived and are shown to their reader later.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Pieces that wait at most; then the sender feels it, as with a full window.
const LATE_PIECES_MAX: usize = 256;
const PIECE_BYTES: usize = 16 << 10;

/// What waits, in the order in which it came.
#[derive(Default)]
pub(super) struct Late {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    /// How the stream ended, after all pieces.
    end: Option<(Instant, io::Result<()>)>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Late {
    pub(super) fn is_idle(&self) -> bool {
        self.pieces.is_empty() && self.end.is_none()
    }

    /// Reads what is due; takes in what has come and makes it late by `by`.
    pub(super) fn poll_read(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        by: Duration,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.take_in(from, by, cx);
        let now = Instant::now();
        if let Some((due, piece)) = self.pieces.front_mut() {
            if *due > now {
                return self.wait(cx);
            }
            let count = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..count]);
            piece.drain(..count);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
            return Poll::Ready(Ok(()));
        }
        match self.end.take() {
            Some((due, end)) if due <= now => Poll::Ready(end),
            Some(end) => {
                self.end = Some(end);
                self.wait(cx)
            }
            None => Poll::Pending,
        }
    }

    fn take_in(&mut self, from: &mut (impl AsyncRead + Unpin), by: Duration, cx: &mut Context<'_>) {
        // Order is kept when a delay becomes shorter.
        let last = self.pieces.back().map(|(due, _)| *due);
        let due = (Instant::now() + by).max(last.unwrap_or_else(Instant::now));
        while self.end.is_none() && self.pieces.len() < LATE_PIECES_MAX {
            let mut piece = vec![0; PIECE_BYTES];
            let mut read = ReadBuf::new(&mut piece);
            let Poll::Ready(result) = Pin::new(&mut *from).poll_read(cx, &mut read) else {
                return;
            };
            let count = read.filled().len();
            if result.is_err() || count == 0 {
                self.end = Some((due, result));
                return;
            }
            piece.truncate(count);
            self.pieces.push_back((due, piece));
        }
    }

    /// Until the first piece, or the end, is due.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let piece = self.pieces.front().map(|(due, _)| *due);
        let Some(due) = piece.or_else(|| self.end.as_ref().map(|(due, _)| *due)) else {
            return Poll::Pending;
        };
        let mut sleep = Box::pin(tokio::time::sleep_until(due));
        if sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.sleep = Some(sleep);
        Poll::Pending
    }
}
