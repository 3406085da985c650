//! openraft's own suite for logs, on the real log. Its state machine is a stand-in: the suite applies entries with gaps,
//! which a replica's store rightly refuses.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftLogStorage as _, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageError};
use parking_lot::Mutex;
use spine_storage::Driver;
use spine_storage::disk::{Disk, RealDisk, SimDisk};
use spine_storage::ids::Vote;
use spine_storage::wal::{GroupLog, Wal, WalOptions};

use crate::convert;
use crate::log_adapter::LogAdapter;
use crate::types::{RaftLogId, RaftStoredMembership, SpineRaft};

#[derive(Default, Clone)]
struct LooseState {
    applied: Option<RaftLogId>,
    membership: RaftStoredMembership,
    snapshot: Arc<Mutex<Option<openraft::alias::SnapshotMetaOf<SpineRaft>>>>,
}

impl RaftSnapshotBuilder<SpineRaft> for LooseState {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<openraft::alias::SnapshotOf<SpineRaft, ()>> {
        let meta = openraft::SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        };
        *self.snapshot.lock() = Some(meta.clone());
        Ok(openraft::Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<SpineRaft> for LooseState {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, RaftStoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<SpineRaft>>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, _) = item?;
            self.applied = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                self.membership = RaftStoredMembership::new(Some(entry.log_id), membership);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &openraft::alias::SnapshotMetaOf<SpineRaft>,
        _snapshot: (),
    ) -> io::Result<()> {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        *self.snapshot.lock() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<openraft::alias::SnapshotOf<SpineRaft, ()>>> {
        Ok(self
            .snapshot
            .lock()
            .clone()
            .map(|meta| openraft::Snapshot { meta, snapshot: () }))
    }
}

type Stores = (tempfile::TempDir, LogAdapter, LooseState);

async fn build(disk: Arc<dyn Disk>, driver: Driver) -> Stores {
    let dir = tempfile::tempdir().expect("directory");
    let log = open(&dir.path().join("wal"), disk, driver).await;
    log.create().await.expect("replica is created");
    (dir, LogAdapter::new(log), LooseState::default())
}

async fn open(path: &Path, disk: Arc<dyn Disk>, driver: Driver) -> GroupLog {
    let wal = Wal::open(
        disk,
        path,
        [1; 16],
        WalOptions {
            segment_bytes: 64 * 1024,
            ..WalOptions::default()
        },
        driver,
    )
    .await
    .expect("log opens");
    wal.group(1)
}

struct Real;

impl StoreBuilder<SpineRaft, LogAdapter, LooseState, tempfile::TempDir> for Real {
    async fn build(&self) -> Result<Stores, StorageError<SpineRaft>> {
        Ok(build(Arc::new(RealDisk), Driver::Threads).await)
    }
}

struct Simulated;

impl StoreBuilder<SpineRaft, LogAdapter, LooseState, tempfile::TempDir> for Simulated {
    async fn build(&self) -> Result<Stores, StorageError<SpineRaft>> {
        let driver = Driver::Tasks {
            sync_latency: Duration::from_micros(50),
        };
        Ok(build(Arc::new(SimDisk::new(1)), driver).await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openraft_suite_on_the_real_disk() {
    Suite::test_all(Real).await.expect("suite");
}

#[tokio::test]
async fn openraft_suite_on_the_simulated_disk() {
    Suite::test_all(Simulated).await.expect("suite");
}

/// A vote that is answered and then forgotten lets two leaders be elected in one term.
#[tokio::test]
async fn a_vote_is_durable_before_it_is_answered() {
    let disk = SimDisk::new(1);
    let driver = Driver::Tasks {
        sync_latency: Duration::from_millis(1),
    };
    let vote = Vote {
        term: 7,
        leader: 3,
        committed: false,
    };
    let (dir, mut log, _) = build(disk.shared(), driver).await;
    log.save_vote(&convert::raft_vote(vote))
        .await
        .expect("the disk works");
    disk.power_cut();
    let log = open(&dir.path().join("wal"), disk.shared(), driver).await;
    assert_eq!(log.vote(), Some(vote));
}
