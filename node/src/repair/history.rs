//! An older copy of a data directory may have forgotten votes, so its node must not vote. It cannot know that by itself; its
//! peers can: each remembers how often every other node has started and how far its log was durable, and refuses one that
//! goes back. A node that a majority refuses condemns its replicas, durably, and gets new ones under other ids.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message as _;
use spine_consensus::transport::Stores;
use spine_mutants::mutant;
use spine_proto::ids::NodeId;
use spine_proto::storage::v1::{PeerMark, StoreHistory, StoreMark};
use spine_storage::disk::Disk;
use spine_storage::wal::Wal;
use tokio::time::Instant;

use crate::twice;

const FILE: &str = "HISTORY";
const FORMAT: u32 = 1;

/// After a write that failed.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// See the module. Empty until the node belongs to a cluster.
#[derive(Default)]
pub struct History(Mutex<State>);

#[derive(Default)]
struct State {
    stored: StoreHistory,
    file: Option<(Arc<dyn Disk>, PathBuf)>,
    /// It knows more than the file.
    is_news: bool,
    /// When that could not be written.
    failed: Option<Instant>,
    wal: Option<Wal>,
    /// Peers that took our directory for an older copy.
    refused_by: BTreeSet<u64>,
}

/// Whether `now` is of an older copy of the directory that `known` was heard of.
fn is_older(known: &StoreMark, now: &StoreMark) -> bool {
    let log = |mark: &StoreMark| (mark.segment, mark.offset);
    if is_same_life(known, now) {
        // A handshake may be overtaken by what the process said later.
        return false;
    }
    // Two lives of one directory that began with the same start are two copies of it.
    now.starts <= known.starts
        || now.log_number < known.log_number
        || (now.log_number == known.log_number && log(now) < log(known))
}

/// Whether both are of one process.
fn is_same_life(known: &StoreMark, now: &StoreMark) -> bool {
    (known.starts, known.boot) == (now.starts, now.boot)
}

fn position_of(mark: &StoreMark) -> u64 {
    mark.segment << 32 | u64::from(mark.offset)
}

fn set_position(mark: &mut StoreMark, position: u64) {
    mark.segment = position >> 32;
    mark.offset = u32::try_from(position & u64::from(u32::MAX)).unwrap_or(u32::MAX);
}

impl History {
    /// Another start of the node, on a log that was begun anew or not; durable on return.
    ///
    /// # Errors
    /// What the disk says, or a file of a format that this release does not know.
    pub fn begin(&self, disk: &Arc<dyn Disk>, dir: &Path, boot: u64, wal: (&Wal, bool)) -> io::Result<()> {
        let file = dir.join(FILE);
        let mut state = self.0.lock();
        // Without it the peers know more than we do, and refuse us: then everything is made anew.
        let content = twice::read(disk.as_ref(), &file).or_else(|error| match error.kind() {
            io::ErrorKind::InvalidData => Ok(None),
            _ => Err(error),
        })?;
        state.stored = match content {
            None => StoreHistory::default(),
            Some(content) => StoreHistory::decode(&content[..]).map_err(io::Error::other)?,
        };
        if !matches!(state.stored.format, 0 | FORMAT) {
            return Err(io::Error::other(
                "it has a format that this release does not know",
            ));
        }
        state.stored.format = FORMAT;
        let own = state.stored.own.get_or_insert_default();
        own.starts += 1;
        own.boot = boot;
        own.log_number += u32::from(wal.1);
        state.wal = Some(wal.0.clone());
        state.file = Some((Arc::clone(disk), file));
        state.save()
    }

    /// Whether a replica of this node may run no more.
    #[must_use]
    pub fn is_condemned(&self, replica: u64) -> bool {
        self.0.lock().stored.condemned.contains(&replica)
    }

    /// The latest incarnation of the cluster that a peer was found in; 0 if none was later than our own.
    #[must_use]
    pub fn outlived_by(&self) -> u32 {
        self.0.lock().stored.outlived_by
    }

    /// Peers that took our directory for an older copy, and took no connection since.
    #[must_use]
    pub fn refusals(&self) -> usize {
        self.0.lock().refused_by.len()
    }

    /// These replicas may run no more. From then on peers accept the directory again: durable on return.
    ///
    /// # Errors
    /// What the disk says.
    pub fn condemn(&self, replicas: impl IntoIterator<Item = u64>) -> io::Result<()> {
        let mut state = self.0.lock();
        let mut condemned: BTreeSet<u64> = state.stored.condemned.iter().copied().collect();
        condemned.extend(replicas);
        state.stored.condemned = condemned.into_iter().collect();
        let own = state.stored.own.get_or_insert_default();
        // Others may have heard of a copy that went on from the same place: of no number that it can have.
        own.log_number += 1;
        own.starts += STARTS_AFTER_CONDEMNED;
        state.save()?;
        state.refused_by.clear();
        Ok(())
    }

    /// A peer's log is durable up to here.
    pub fn heard(&self, peer: u64, position: u64) {
        let mut state = self.0.lock();
        let State { stored, is_news, .. } = &mut *state;
        let known = stored.peers.iter_mut().find(|known| known.node_id == peer);
        if let Some(mark) = known.and_then(|known| known.mark.as_mut())
            && position > position_of(mark)
        {
            // One write for each segment, not for each frame.
            *is_news |= mark.segment != position >> 32;
            set_position(mark, position);
        }
    }

    /// Writes what is news; `all` that is known where the node ends.
    ///
    /// # Errors
    /// What the disk says.
    pub fn keep(&self, all: bool) -> io::Result<()> {
        let mut state = self.0.lock();
        let lately = |failed: Instant| failed.elapsed() < RETRY_AFTER;
        if !all && (!state.is_news || state.failed.is_some_and(lately)) {
            return Ok(());
        }
        // What could not be written stays news.
        state.failed = Some(Instant::now());
        state.save()?;
        (state.is_news, state.failed) = (false, None);
        Ok(())
    }
}

/// An older copy that starts again and again, each time before anybody refuses it, stays behind by this.
const STARTS_AFTER_CONDEMNED: u64 = 1_000;

impl State {
    fn save(&self) -> io::Result<()> {
        let Some((disk, file)) = &self.file else {
            return Ok(());
        };
        twice::write(disk.as_ref(), file, &self.stored.encode_to_vec())
    }
}

impl Stores for History {
    fn own(&self) -> Option<StoreMark> {
        let state = self.0.lock();
        let mut mark = state.stored.own?;
        set_position(&mut mark, state.wal.as_ref()?.position());
        Some(mark)
    }

    fn log_position(&self) -> u64 {
        self.0.lock().wal.as_ref().map_or(0, Wal::position)
    }

    fn is_sound(&self, peer: NodeId, mark: &StoreMark) -> bool {
        let mut state = self.0.lock();
        if state.file.is_none() {
            return true;
        }
        let State { stored, is_news, .. } = &mut *state;
        let Some(known) = stored.peers.iter_mut().find(|known| known.node_id == peer.0) else {
            stored.peers.push(PeerMark {
                node_id: peer.0,
                mark: Some(*mark),
            });
            *is_news = true;
            return true;
        };
        let before = known.mark.get_or_insert_default();
        if is_older(before, mark) && !mutant!("older-copy-accepted") {
            return false;
        }
        *is_news |= (before.starts, before.log_number) != (mark.starts, mark.log_number);
        let heard = is_same_life(before, mark) && before.log_number == mark.log_number;
        let furthest = position_of(mark).max(if heard { position_of(before) } else { 0 });
        *before = *mark;
        set_position(before, furthest);
        true
    }

    fn accepted_by(&self, peer: NodeId) {
        self.0.lock().refused_by.remove(&peer.0);
    }

    fn outlived(&self, peer: NodeId, incarnation: u32) {
        let mut state = self.0.lock();
        if incarnation <= state.stored.outlived_by || mutant!("outlived-ignored") {
            return;
        }
        state.stored.outlived_by = incarnation;
        // Durable with the next look; until then it is heard again after a start.
        state.is_news = true;
        tracing::error!(
            peer = peer.0,
            incarnation,
            "the cluster went on without this node: its replicas serve no more"
        );
    }

    fn refused_by(&self, peer: NodeId) {
        let mut state = self.0.lock();
        if state.refused_by.insert(peer.0) {
            tracing::error!(
                peer = peer.0,
                "a peer knows a newer state of this data directory: an older copy was put back"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use spine_storage::Driver;
    use spine_storage::wal::WalOptions;

    use super::*;

    fn mark(log_number: u32, starts: u64, boot: u64, at: (u64, u32)) -> StoreMark {
        StoreMark {
            log_number,
            starts,
            boot,
            segment: at.0,
            offset: at.1,
        }
    }

    #[test]
    fn a_directory_that_goes_back_is_an_older_copy() {
        let known = mark(1, 5, 77, (3, 4_096));
        let table = [
            ("the same process again", mark(1, 5, 77, (3, 4_096)), false),
            ("it went on", mark(1, 5, 77, (4, 0)), false),
            ("said earlier, heard later", mark(1, 5, 77, (3, 4_000)), false),
            ("started again", mark(1, 6, 78, (3, 4_096)), false),
            ("a copy of before the last start", mark(1, 4, 76, (9, 0)), true),
            ("that copy, started once", mark(1, 5, 78, (9, 0)), true),
            (
                "a copy made while it ran, started",
                mark(1, 6, 78, (3, 4_000)),
                true,
            ),
            ("a log begun anew", mark(2, 6, 78, (1, 4_096)), false),
            ("a copy of before that", mark(0, 9, 78, (9, 0)), true),
        ];
        for (what, now, older) in table {
            assert_eq!(is_older(&known, &now), older, "{what}");
        }
    }

    #[test]
    fn what_was_heard_between_handshakes_counts() {
        let history = History::default();
        let peer = NodeId(2);
        history.0.lock().file = Some((Arc::new(spine_storage::disk::SimDisk::new(1)), "/HISTORY".into()));
        assert!(history.is_sound(peer, &mark(1, 1, 7, (1, 4_096))));
        history.heard(2, 1 << 32 | 9_000);
        history.heard(2, 1 << 32 | 8_000);
        assert!(history.is_sound(peer, &mark(1, 1, 7, (1, 5_000))), "overtaken");
        assert!(!history.is_sound(peer, &mark(1, 2, 8, (1, 8_999))));
        assert!(history.is_sound(peer, &mark(1, 2, 8, (1, 9_000))));
        assert!(history.is_sound(peer, &mark(2, 3, 9, (1, 4_096))), "another log");
    }

    #[tokio::test]
    async fn a_later_incarnation_is_kept_and_a_format_of_another_release_is_refused() {
        let disk = spine_storage::disk::SimDisk::new(1).shared();
        let (dir, driver) = (
            Path::new("/data"),
            Driver::Tasks {
                sync_latency: Duration::ZERO,
            },
        );
        let log_dir = dir.join("wal");
        let wal = Wal::open(disk.clone(), &log_dir, [1; 16], WalOptions::default(), driver);
        let wal = wal.await.expect("log");
        let history = History::default();
        history.begin(&disk, dir, 1, (&wal, true)).expect("begin");
        history.outlived(NodeId(2), 3);
        history.outlived(NodeId(3), 2);
        history.keep(false).expect("keep");
        let again = History::default();
        again.begin(&disk, dir, 2, (&wal, false)).expect("begin again");
        assert_eq!(again.outlived_by(), 3);

        let later = StoreHistory {
            format: FORMAT + 1,
            ..StoreHistory::default()
        };
        twice::write(disk.as_ref(), &dir.join(FILE), &later.encode_to_vec()).expect("write");
        let refused = History::default().begin(&disk, dir, 3, (&wal, false));
        assert!(refused.is_err_and(|error| error.to_string().contains("format")));
        let left = twice::read(disk.as_ref(), &dir.join(FILE)).expect("read");
        assert_eq!(left, Some(later.encode_to_vec()));
    }
}
