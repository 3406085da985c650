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
pub struct History {
    /// Never held while the disk is waited for: every frame of a peer asks here, and a node that cannot answer looks dead.
    state: Mutex<State>,
    /// Held while the file is written, so that it never goes back. Taken before `state`.
    writing: Mutex<()>,
}

/// Where it is kept.
type File = (Arc<dyn Disk>, PathBuf);

#[derive(Default)]
struct State {
    stored: StoreHistory,
    file: Option<File>,
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
        // Nobody asks before a node has begun.
        let _writing = self.writing.lock();
        let mut state = self.state.lock();
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
        save(state.file.as_ref(), &state.stored)
    }

    /// Whether a replica of this node may run no more.
    #[must_use]
    pub fn is_condemned(&self, replica: u64) -> bool {
        self.state.lock().stored.condemned.contains(&replica)
    }

    /// The latest incarnation of the cluster that a peer was found in; 0 if none was later than our own.
    #[must_use]
    pub fn outlived_by(&self) -> u32 {
        self.state.lock().stored.outlived_by
    }

    /// Peers that took our directory for an older copy, and took no connection since.
    #[must_use]
    pub fn refusals(&self) -> usize {
        self.state.lock().refused_by.len()
    }

    /// These replicas may run no more. From then on peers accept the directory again: durable on return.
    ///
    /// # Errors
    /// What the disk says.
    pub fn condemn(&self, replicas: impl IntoIterator<Item = u64>) -> io::Result<()> {
        let replicas: Vec<u64> = replicas.into_iter().collect();
        let _writing = self.writing.lock();
        let (file, mut after) = {
            let state = self.state.lock();
            (state.file.clone(), state.stored.clone())
        };
        add_condemned(&mut after, &replicas);
        save(file.as_ref(), &after)?;
        let mut state = self.state.lock();
        // Once more, for what was heard of peers meanwhile stays.
        add_condemned(&mut state.stored, &replicas);
        state.refused_by.clear();
        Ok(())
    }

    /// A peer's log is durable up to here.
    pub fn heard(&self, peer: u64, position: u64) {
        let mut state = self.state.lock();
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
        let _writing = self.writing.lock();
        let (file, stored) = {
            let mut state = self.state.lock();
            let lately = |failed: Instant| failed.elapsed() < RETRY_AFTER;
            if !all && (!state.is_news || state.failed.is_some_and(lately)) {
                return Ok(());
            }
            // What is heard from here on is news again.
            state.is_news = false;
            (state.file.clone(), state.stored.clone())
        };
        let kept = save(file.as_ref(), &stored);
        let mut state = self.state.lock();
        // What could not be written stays news.
        state.is_news |= kept.is_err();
        state.failed = kept.is_err().then(Instant::now);
        kept
    }
}

/// An older copy that starts again and again, each time before anybody refuses it, stays behind by this.
const STARTS_AFTER_CONDEMNED: u64 = 1_000;

/// Durable on return.
fn save(file: Option<&File>, stored: &StoreHistory) -> io::Result<()> {
    let Some((disk, path)) = file else { return Ok(()) };
    twice::write(disk.as_ref(), path, &stored.encode_to_vec())
}

fn add_condemned(stored: &mut StoreHistory, replicas: &[u64]) {
    let mut condemned: BTreeSet<u64> = stored.condemned.iter().copied().collect();
    condemned.extend(replicas);
    stored.condemned = condemned.into_iter().collect();
    let own = stored.own.get_or_insert_default();
    // Others may have heard of a copy that went on from the same place: of no number that it can have.
    own.log_number += 1;
    own.starts += STARTS_AFTER_CONDEMNED;
}

impl Stores for History {
    fn own(&self) -> Option<StoreMark> {
        let state = self.state.lock();
        let mut mark = state.stored.own?;
        set_position(&mut mark, state.wal.as_ref()?.position());
        Some(mark)
    }

    fn log_position(&self) -> u64 {
        self.state.lock().wal.as_ref().map_or(0, Wal::position)
    }

    fn is_sound(&self, peer: NodeId, mark: &StoreMark) -> bool {
        let mut state = self.state.lock();
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
        self.state.lock().refused_by.remove(&peer.0);
    }

    fn outlived(&self, peer: NodeId, incarnation: u32) {
        let mut state = self.state.lock();
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
        let mut state = self.state.lock();
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
    use std::sync::mpsc::{Receiver, Sender, channel};

    use spine_storage::Driver;
    use spine_storage::disk::{DiskFile, SimDisk};
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

    /// A disk whose writes of small files say that they begin, and hang until they are told to go on.
    struct Hanging {
        disk: Arc<dyn Disk>,
        begins: Sender<()>,
        goes_on: Mutex<Receiver<()>>,
    }

    impl Disk for Hanging {
        fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
            self.disk.open(path, create)
        }
        fn create_dir_all(&self, path: &Path) -> io::Result<()> {
            self.disk.create_dir_all(path)
        }
        fn list(&self, path: &Path) -> io::Result<Vec<String>> {
            self.disk.list(path)
        }
        fn exists(&self, path: &Path) -> io::Result<bool> {
            self.disk.exists(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.disk.rename(from, to)
        }
        fn remove_file(&self, path: &Path) -> io::Result<()> {
            self.disk.remove_file(path)
        }
        fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
            self.disk.remove_dir_all(path)
        }
        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            self.disk.sync_dir(path)
        }
        fn free_bytes(&self, path: &Path) -> io::Result<u64> {
            self.disk.free_bytes(path)
        }
        fn write_atomic(&self, path: &Path, content: &[u8]) -> io::Result<()> {
            self.begins.send(()).expect("somebody listens");
            self.goes_on.lock().recv().expect("somebody lets it go on");
            self.disk.write_atomic(path, content)
        }
    }

    /// Peers' frames ask and tell while the file is written: who waited for a disk that hangs would look dead.
    #[test]
    fn a_disk_that_hangs_silences_nobody() {
        const SOON: Duration = Duration::from_secs(10);
        let disk = SimDisk::new(1).shared();
        let ((begins, begun), (go_on, goes_on)) = (channel(), channel());
        let hanging = Arc::new(Hanging {
            disk: Arc::clone(&disk),
            begins,
            goes_on: Mutex::new(goes_on),
        });
        let history = History::default();
        history.state.lock().file = Some((hanging, "/HISTORY".into()));
        assert!(history.is_sound(NodeId(2), &mark(1, 1, 7, (1, 4_096))));
        let (history, (asked, answered)) = (&history, channel());
        std::thread::scope(|threads| {
            let keeping = threads.spawn(|| history.keep(false));
            begun.recv_timeout(SOON).expect("it is written");
            threads.spawn(move || {
                history.heard(2, 2 << 32 | 9_000);
                assert!(history.is_sound(NodeId(3), &mark(1, 1, 8, (1, 4_096))));
                let _ = asked.send(history.log_position());
            });
            let in_time = answered.recv_timeout(SOON).is_ok();
            // Twice: the file and its copy; and both again for what was heard meanwhile.
            (0..4).for_each(|_| go_on.send(()).expect("it hangs"));
            keeping.join().expect("no panic").expect("written");
            assert!(in_time, "who hears and asks waited for the disk");
            history.keep(false).expect("written");
        });
        let kept = twice::read(disk.as_ref(), Path::new("/HISTORY")).expect("read");
        let kept = StoreHistory::decode(&kept.expect("it is there")[..]).expect("its format");
        let furthest = |at: usize| kept.peers[at].mark.as_ref().map(position_of);
        assert_eq!(
            (furthest(0), furthest(1)),
            (Some(2 << 32 | 9_000), Some(1 << 32 | 4_096))
        );
    }

    #[test]
    fn what_was_heard_between_handshakes_counts() {
        let history = History::default();
        let peer = NodeId(2);
        history.state.lock().file = Some((Arc::new(SimDisk::new(1)), "/HISTORY".into()));
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
        let disk = SimDisk::new(1).shared();
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
