//! Closed-loop clients: each writes and reads keys of its own, one call at a time, and remembers how long each took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::JoinSet;

/// Keys of one client; over all clients they cover every shard many times.
const KEYS: usize = 8;
/// Length of every value.
const VALUE_BYTES: usize = 256;

/// One client of a store. Retries are its own business; an error is a failed call.
#[async_trait]
pub trait Client: Send + 'static {
    /// Writes a value. Gives the shard it went to; 0 for a store without shards.
    ///
    /// # Errors
    /// For people.
    async fn put(&mut self, key: &str, value: Bytes) -> Result<u32, String>;
    /// Reads a value, linearizably. Gives the shard it came from, too.
    ///
    /// # Errors
    /// For people.
    async fn get(&mut self, key: &str) -> Result<(u32, Option<Bytes>), String>;
}

/// What the clients of a run saw.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub calls: u64,
    pub failed: u64,
    pub first_failure: Option<String>,
    /// Reads that showed less than an acknowledged write of the same client.
    pub lost: u64,
}

/// When a call began and ended, and where.
#[derive(Clone, Copy, Debug)]
struct Timed {
    shard: u32,
    began: Instant,
    ended: Instant,
}

#[derive(Default)]
struct Seen {
    tally: Tally,
    /// Calls since the last fault.
    timed: Vec<Timed>,
}

/// Running clients. Dropping it ends them.
pub struct Load {
    clients: JoinSet<()>,
    seen: Vec<Arc<Mutex<Seen>>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Starts every client.
    #[must_use]
    pub fn start(clients: Vec<Box<dyn Client>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut load = Self {
            clients: JoinSet::new(),
            seen: Vec::new(),
            stop: Arc::clone(&stop),
        };
        for (number, client) in clients.into_iter().enumerate() {
            let seen = Arc::<Mutex<Seen>>::default();
            load.seen.push(Arc::clone(&seen));
            let caller = Caller {
                number,
                client,
                seen,
                last: [Last::default(); KEYS],
            };
            load.clients.spawn(caller.run(Arc::clone(&stop)));
        }
        load
    }

    /// Forgets the times of all calls that have ended.
    pub fn forget(&self) {
        for seen in &self.seen {
            seen.lock().timed.clear();
        }
    }

    /// Calls that have ended so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.seen.iter().map(|seen| seen.lock().tally.calls).sum()
    }

    /// The longest call that ended after `fault` at one of the shards that are asked for, of those calls that are not
    /// forgotten, and how long after the fault it ended.
    #[must_use]
    pub fn longest_since(&self, fault: Instant, of: impl Fn(u32) -> bool) -> (Duration, Duration) {
        let mut longest = (Duration::ZERO, Duration::ZERO);
        for seen in &self.seen {
            let seen = seen.lock();
            for call in seen
                .timed
                .iter()
                .filter(|call| call.ended >= fault && of(call.shard))
            {
                longest = longest.max((call.ended - call.began, call.ended - fault));
            }
        }
        longest
    }

    /// Lets every client end its call and read all its keys once more.
    pub async fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
        let mut all = Tally::default();
        for seen in &self.seen {
            let seen = seen.lock();
            all.calls += seen.tally.calls;
            all.failed += seen.tally.failed;
            all.lost += seen.tally.lost;
            if all.first_failure.is_none() {
                all.first_failure.clone_from(&seen.tally.first_failure);
            }
        }
        all
    }
}

/// What a client knows of one of its keys: nobody else writes it.
#[derive(Clone, Copy, Default)]
struct Last {
    acknowledged: u64,
    tried: u64,
}

struct Caller {
    number: usize,
    client: Box<dyn Client>,
    seen: Arc<Mutex<Seen>>,
    last: [Last; KEYS],
}

impl Caller {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        let mut turn = 0;
        while !stop.load(Ordering::Relaxed) {
            let key = turn / 2 % KEYS;
            if turn % 2 == 0 {
                self.write(key).await;
            } else {
                self.read(key).await;
            }
            turn += 1;
        }
        for key in 0..KEYS {
            self.read(key).await;
        }
    }

    fn key(&self, key: usize) -> String {
        format!("gap-{:03}-{key}", self.number)
    }

    async fn write(&mut self, key: usize) {
        let number = self.last[key].tried + 1;
        self.last[key].tried = number;
        let mut value = number.to_be_bytes().to_vec();
        value.resize(VALUE_BYTES, 0x5a);
        let name = self.key(key);
        let began = Instant::now();
        let answer = self.client.put(&name, value.into()).await;
        if self.note(began, answer) {
            self.last[key].acknowledged = number;
        }
    }

    async fn read(&mut self, key: usize) {
        let name = self.key(key);
        let began = Instant::now();
        let answer = self.client.get(&name).await;
        let (answer, value) = match answer {
            Ok((shard, value)) => (Ok(shard), value),
            Err(error) => (Err(error), None),
        };
        if self.note(began, answer) {
            let shown = value.as_deref().and_then(|bytes| bytes.first_chunk().copied());
            let shown = shown.map_or(0, u64::from_be_bytes);
            let last = self.last[key];
            if shown < last.acknowledged || shown > last.tried {
                self.seen.lock().tally.lost += 1;
            }
        }
    }

    /// True if the call was answered.
    fn note(&self, began: Instant, answer: Result<u32, String>) -> bool {
        let mut seen = self.seen.lock();
        seen.tally.calls += 1;
        let shard = *answer.as_ref().unwrap_or(&0);
        let ended = Instant::now();
        seen.timed.push(Timed { shard, began, ended });
        match answer {
            Ok(_) => true,
            Err(error) => {
                seen.tally.failed += 1;
                seen.tally.first_failure.get_or_insert(error);
                false
            }
        }
    }
}
