//! The one worker of a node that writes to engines.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{Progress, ReplicaError, ReplicaStore};
use crate::Driver;
use crate::engine::EngineWatch;
use crate::gently::step_back;
use crate::ids::LogId;
use crate::snapshot::SnapshotSource;

/// Replicas that may wait for the worker.
const QUEUE_REPLICAS_MAX: usize = 1024;
/// How often a snapshot tries to catch the moment after a checkpoint.
const SNAPSHOT_TRIES: usize = 8;

/// Called on the worker when a checkpoint fails. The node ends after a failed write or sync.
pub type OnFailure = Arc<dyn Fn(&ReplicaStore, &ReplicaError) + Send + Sync>;

/// What a worker needs of its node.
#[derive(Clone)]
pub struct WorkerOptions {
    /// See [`OnFailure`].
    pub on_failure: OnFailure,
}

/// Handle of the worker. Clones share it; it ends with [`CheckpointWorker::stop`] or its last handle.
#[derive(Clone)]
pub struct CheckpointWorker {
    jobs: mpsc::Sender<Job>,
    watch: EngineWatch,
}

type Outcome = Result<Option<LogId>, ReplicaError>;

enum Job {
    Checkpoint {
        store: ReplicaStore,
        done: Option<oneshot::Sender<Outcome>>,
    },
    Stop(oneshot::Sender<()>),
}

impl CheckpointWorker {
    /// Starts the worker: a thread of low priority, or a task with virtual latency for the simulator.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(driver: Driver, options: WorkerOptions) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE_REPLICAS_MAX);
        let watch = match driver {
            Driver::Threads => EngineWatch::with_thread()?,
            Driver::Tasks { .. } => EngineWatch::default(),
        };
        let worker = Worker {
            queue,
            watch: watch.clone(),
            options,
        };
        match driver {
            Driver::Threads => {
                std::thread::Builder::new()
                    .name("checkpoint".into())
                    .spawn(move || worker.run_thread())?;
            }
            Driver::Tasks { sync_latency } => {
                tokio::spawn(worker.run_task(sync_latency));
            }
        }
        Ok(Self { jobs, watch })
    }

    /// Asks for a checkpoint soon; never waits. A full queue forgets it: the replica still wants it at its next apply.
    pub fn request(&self, store: &ReplicaStore) {
        if store.mark_queued()
            && self
                .jobs
                .try_send(Job::Checkpoint {
                    store: store.clone(),
                    done: None,
                })
                .is_err()
        {
            store.clear_queued();
        }
    }

    /// A checkpoint now: the last durable entry afterwards. Older than the applied one if a snapshot holds the last
    /// checkpoint, or if entries were applied meanwhile.
    ///
    /// # Errors
    /// As [`super::Checkpoint::step`]; [`ReplicaError::Stopped`].
    pub async fn checkpoint(&self, store: &ReplicaStore) -> Outcome {
        let (done, outcome) = oneshot::channel();
        let job = Job::Checkpoint {
            store: store.clone(),
            done: Some(done),
        };
        self.jobs.send(job).await.map_err(|_| ReplicaError::Stopped)?;
        outcome.await.map_err(|_| ReplicaError::Stopped)?
    }

    /// A checkpoint, and a snapshot that holds it.
    ///
    /// # Errors
    /// As [`Self::checkpoint`]; [`ReplicaError::Busy`] if other checkpoints always came first.
    pub async fn snapshot(&self, store: &ReplicaStore, shard: u32) -> Result<SnapshotSource, ReplicaError> {
        for _ in 0..SNAPSHOT_TRIES {
            self.checkpoint(store).await?;
            match SnapshotSource::begin(store, shard) {
                Err(ReplicaError::Busy) => {}
                begun => return begun,
            }
        }
        Err(ReplicaError::Busy)
    }

    /// What engine call runs now, for the node's watchdog.
    #[must_use]
    pub fn watch(&self) -> &EngineWatch {
        &self.watch
    }

    /// Finishes what is queued before this call, then ends the worker.
    pub async fn stop(&self) {
        let (stopped, wait) = oneshot::channel();
        if self.jobs.send(Job::Stop(stopped)).await.is_ok() {
            // An error means that it was stopped by somebody else.
            wait.await.ok();
        }
    }
}

struct Worker {
    queue: mpsc::Receiver<Job>,
    watch: EngineWatch,
    options: WorkerOptions,
}

impl Worker {
    fn run_thread(mut self) {
        step_back();
        while let Some(job) = self.queue.blocking_recv() {
            match job {
                Job::Stop(stopped) => {
                    drop(self);
                    stopped.send(()).ok();
                    return;
                }
                Job::Checkpoint { store, done } => {
                    store.clear_queued();
                    let outcome = store.checkpoint_now(&self.watch);
                    self.report(&store, outcome, done);
                }
            }
        }
    }

    async fn run_task(mut self, latency: Duration) {
        while let Some(job) = self.queue.recv().await {
            match job {
                Job::Stop(stopped) => {
                    drop(self);
                    stopped.send(()).ok();
                    return;
                }
                Job::Checkpoint { store, done } => {
                    store.clear_queued();
                    let outcome = self.checkpoint_in_steps(&store, latency).await;
                    self.report(&store, outcome, done);
                }
            }
        }
    }

    async fn checkpoint_in_steps(&self, store: &ReplicaStore, latency: Duration) -> Outcome {
        let Some(mut checkpoint) = store.begin_checkpoint()? else {
            return Ok(store.durable_index());
        };
        loop {
            if let Progress::Done(durable) = checkpoint.step(&self.watch)? {
                return Ok(durable);
            }
            tokio::time::sleep(latency).await;
        }
    }

    fn report(&self, store: &ReplicaStore, outcome: Outcome, done: Option<oneshot::Sender<Outcome>>) {
        if let Err(error) = &outcome {
            (self.options.on_failure)(store, error);
        }
        if let Some(done) = done {
            // Who asked may be gone.
            done.send(outcome).ok();
        }
    }
}
