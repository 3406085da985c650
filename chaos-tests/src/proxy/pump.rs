//! One direction of one connection: reads pieces, keeps each until it is due, writes it.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::rules::{Direction, Rules, Way};

/// One piece read at once, bytes.
const PIECE_BYTES: usize = 16 * 1024;
/// Bytes on their way; the sender waits above it, as on a real link.
const ON_THE_WAY_BYTES_MAX: usize = 256 * 1024;

/// The connection must be reset on both sides.
pub(super) struct Broken;

pub(super) struct Pump {
    direction: Direction,
    rules: watch::Receiver<Rules>,
    /// The rules this pump has acted on.
    now: Rules,
    random: ChaCha8Rng,
    pieces: VecDeque<Piece>,
    on_the_way: usize,
    /// When the newest piece is due.
    newest: Instant,
    /// The link is busy with earlier pieces until then.
    free_at: Instant,
    ended: bool,
    swallowed: bool,
}

struct Piece {
    due: Instant,
    bytes: Vec<u8>,
    written: usize,
}

impl Pump {
    /// `now`: the newest rules that `rules` has shown.
    pub(super) fn new(
        direction: Direction,
        rules: watch::Receiver<Rules>,
        now: Rules,
        random: ChaCha8Rng,
    ) -> Self {
        Self {
            direction,
            rules,
            now,
            random,
            pieces: VecDeque::new(),
            on_the_way: 0,
            newest: Instant::now(),
            free_at: Instant::now(),
            ended: false,
            swallowed: false,
        }
    }

    fn way(&self) -> Way {
        *self.now.way(self.direction)
    }

    /// Ends when the stream has ended and all of it is written.
    pub(super) async fn run(
        mut self,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
    ) -> Result<(), Broken> {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let way = self.way();
            if self.ended && self.pieces.is_empty() && !way.is_blocked() {
                if self.swallowed {
                    return Err(Broken);
                }
                // The other side may be gone already; then there is nobody to tell.
                let _ = to.shutdown().await;
                return Ok(());
            }
            let due = self.pieces.front().map(|piece| piece.due);
            let waits = due.filter(|due| *due > Instant::now() && !way.is_blocked());
            let writes = due.is_some() && waits.is_none() && !way.is_blocked();
            let reads = !self.ended && !way.frozen && self.on_the_way < ON_THE_WAY_BYTES_MAX;
            tokio::select! {
                // Rules first: bytes sent after a change are under it.
                biased;
                changed = self.rules.changed() => {
                    if changed.is_err() {
                        return Err(Broken);
                    }
                    if self.obey(to).await? {
                        return Ok(());
                    }
                }
                read = from.read(&mut buffer), if reads => match read {
                    Ok(0) => self.ended = true,
                    Ok(count) => self.take(&buffer[..count]),
                    Err(_) => return self.broken(self.direction).await,
                },
                () = sleep_until(waits.unwrap_or_else(Instant::now)), if waits.is_some() => {}
                ready = to.writable(), if writes => {
                    if ready.and_then(|()| self.write(to)).is_err() {
                        return self.broken(self.direction.opposite()).await;
                    }
                }
            }
        }
    }

    /// Acts on changed rules. True if this direction is over.
    async fn obey(&mut self, to: &mut OwnedWriteHalf) -> Result<bool, Broken> {
        let before = std::mem::replace(&mut self.now, *self.rules.borrow_and_update());
        let (was, is) = (*before.way(self.direction), self.way());
        if self.now.resets != before.resets {
            return Err(Broken);
        }
        if is.truncations != was.truncations {
            self.truncate(to);
            return Err(Broken);
        }
        if is.half_closes != was.half_closes {
            let _ = to.shutdown().await;
            return Ok(true);
        }
        if self.swallowed && !is.swallows {
            return Err(Broken);
        }
        Ok(false)
    }

    fn take(&mut self, bytes: &[u8]) {
        let way = self.way();
        if way.swallows {
            self.swallowed = true;
            return;
        }
        let now = Instant::now();
        let jitter = u64::try_from(way.jitter.as_micros()).unwrap_or(u64::MAX);
        let late = way.delay + Duration::from_micros(self.random.random_range(0..=jitter));
        self.free_at = self.free_at.max(now) + transfer_time(bytes.len(), way.bytes_per_second);
        let due = self.newest.max(self.free_at + late);
        self.newest = due;
        self.on_the_way += bytes.len();
        self.pieces.push_back(Piece {
            due,
            bytes: bytes.to_vec(),
            written: 0,
        });
    }

    /// Writes what is due of the oldest piece, as far as the socket takes it.
    fn write(&mut self, to: &OwnedWriteHalf) -> io::Result<()> {
        let Some(piece) = self.pieces.front_mut() else {
            return Ok(());
        };
        match to.try_write(&piece.bytes[piece.written..]) {
            Ok(count) => piece.written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        if piece.written == piece.bytes.len() {
            self.on_the_way -= piece.bytes.len();
            self.pieces.pop_front();
        }
        Ok(())
    }

    /// Half of what is on its way arrives.
    fn truncate(&mut self, to: &OwnedWriteHalf) {
        if let Some(piece) = self.pieces.front() {
            let rest = &piece.bytes[piece.written..];
            let _ = to.try_write(&rest[..rest.len() / 2]);
        }
    }

    /// One side is gone. The other hears of it in `direction`, once anything gets through there.
    async fn broken(&mut self, direction: Direction) -> Result<(), Broken> {
        while self.now.way(direction).is_blocked() && self.rules.changed().await.is_ok() {
            let resets = self.now.resets;
            self.now = *self.rules.borrow_and_update();
            if self.now.resets != resets {
                break;
            }
        }
        Err(Broken)
    }
}

fn transfer_time(bytes: usize, bytes_per_second: u64) -> Duration {
    if bytes_per_second == 0 {
        return Duration::ZERO;
    }
    Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / bytes_per_second)
}
