//! The first frame of every connection, both ways.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use spine_proto::ids::NodeId;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{Hello, Lane, Refusal};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::config::{IdentityCell, LevelSource, LinksConfig, NO_NODE, Stores};
use super::counters::{Counters, add};
use super::error::{PeerError, RefusalReason};
use super::frame::{FrameError, FrameReader, encode};
use super::limits::{HANDSHAKE_DEADLINE, HELLO_FRAME_BYTES_MAX, MAGIC};
use super::wire::{Settled, WireRange};
use crate::net::Stream;

/// The text of a refusal begins with this where the two ends speak no common protocol; the range follows.
const WIRE_IS: &str = "this node speaks wire ";
/// Begins the text of a refusal for another incarnation of the cluster; the number of ours follows.
const INCARNATION_IS: &str = "this node is of incarnation ";

/// A stream whose two ends know each other, and what was read beyond the handshake.
pub(crate) struct Greeted {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) rest: BytesMut,
}

/// What an accepted connection may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// A known node of our cluster.
    Peer { node: NodeId, lane: Lane },
    /// Anybody: only bootstrap requests.
    Bootstrap,
}

/// What goes into our own Hello.
pub(crate) struct Introduction {
    identity: Arc<IdentityCell>,
    peer_address: String,
    release: String,
    pub(crate) wire: WireRange,
    level: LevelSource,
    pub(crate) stores: Arc<dyn Stores>,
    pub(crate) settled: Settled,
}

impl Introduction {
    pub(crate) fn new(config: &LinksConfig) -> Self {
        Self {
            identity: config.identity.clone(),
            peer_address: config.peer_address.clone(),
            release: config.release.clone(),
            wire: config.wire,
            level: config.level.clone(),
            stores: config.stores.clone(),
            settled: Settled::default(),
        }
    }

    /// Counts and says that we and a peer cannot speak with each other.
    fn no_common_wire(&self, peer: u64, release: &str, theirs: &str, counters: &Counters) {
        add(&counters.wire_refusals, 1);
        self.settled.say_refused(peer, release, theirs, self.wire);
    }

    /// A peer that we dialled is of this incarnation of our cluster. If it is a later one the cluster goes on without us.
    /// Who dials us is not believed: anybody can say a number.
    fn heard_of(&self, peer: NodeId, incarnation: u32) {
        let own = self.identity.get().map_or(0, |known| known.incarnation);
        if own > 0 && incarnation > own {
            self.stores.outlived(peer, incarnation);
        }
    }

    /// Our Hello for a lane; a bootstrap Hello names no cluster.
    pub(crate) fn hello(&self, lane: Lane, bootstrap: bool) -> Hello {
        let known = self.identity.get();
        let incarnation = known.as_ref().map_or(0, |id| id.incarnation);
        let (node, cluster_id) = known.map_or((NO_NODE, Bytes::new()), |id| (id.node, id.cluster_id));
        Hello {
            magic: MAGIC,
            wire_min: self.wire.min,
            wire_max: self.wire.max,
            cluster_id: if bootstrap { Bytes::new() } else { cluster_id },
            node_id: node.0,
            lane: lane.into(),
            release: self.release.clone(),
            level: (self.level)(),
            peer_address: self.peer_address.clone(),
            store: self.stores.own().filter(|_| !bootstrap),
            incarnation: if bootstrap { 0 } else { incarnation },
        }
    }
}

/// Whether two nodes may belong to one life of their cluster; 0 is not known.
fn same_incarnation(one: u32, other: u32) -> bool {
    one == other || one == 0 || other == 0
}

/// Whether the data directory of who says this is no older than it was; who says nothing is of an earlier release.
fn is_sound(hello: &Hello, stores: &dyn Stores) -> bool {
    let mark = hello.store.as_ref();
    mark.is_none_or(|mark| stores.is_sound(NodeId(hello.node_id), mark))
}

/// The highest protocol that both ends speak.
fn settle(hello: &Hello, wire: WireRange) -> Result<u32, RefusalReason> {
    if hello.magic != MAGIC {
        return Err(RefusalReason::WrongMagic);
    }
    wire.common(WireRange::of(hello)).ok_or(RefusalReason::WrongWire)
}

/// Whether a Hello that came in is let in, as what, and the protocol to speak.
pub(crate) fn admit(
    hello: &Hello,
    wire: WireRange,
    own: &IdentityCell,
    stores: &dyn Stores,
    knows: impl Fn(NodeId) -> bool,
) -> Result<(Admission, u32), RefusalReason> {
    let wire = settle(hello, wire)?;
    if hello.cluster_id.is_empty() {
        return Ok((Admission::Bootstrap, wire));
    }
    let own = own.get().ok_or(RefusalReason::NotInitialised)?;
    if hello.cluster_id != own.cluster_id {
        return Err(RefusalReason::WrongCluster);
    }
    if !same_incarnation(hello.incarnation, own.incarnation) {
        return Err(RefusalReason::WrongIncarnation);
    }
    let node = NodeId(hello.node_id);
    if node == own.node {
        return Err(RefusalReason::SelfConnection);
    }
    if !knows(node) {
        return Err(RefusalReason::UnknownNode);
    }
    if !is_sound(hello, stores) {
        return Err(RefusalReason::OldStore);
    }
    match Lane::try_from(hello.lane) {
        Ok(lane @ (Lane::Watch | Lane::Log | Lane::Bulk)) => Ok((Admission::Peer { node, lane }, wire)),
        Ok(Lane::Unspecified) | Err(_) => Err(RefusalReason::WrongLane),
    }
}

/// The incarnation in the text of a refusal, which may be of any release; 0 if there is none.
fn said_incarnation(message: &str) -> u32 {
    let said = message.strip_prefix(INCARNATION_IS);
    said.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The range in the text of a refusal, which may be of any release, or of anybody.
fn said_wire(message: &str) -> String {
    let known = message.strip_prefix(WIRE_IS).and_then(|said| {
        let (min, max) = said.split_once(" to ")?;
        let (min, max) = (min.parse().ok()?, max.parse().ok()?);
        Some(WireRange { min, max }.to_string())
    });
    known.unwrap_or_else(|| "another one".to_owned())
}

/// The protocol to speak, if the Hello that answers ours comes from whom we dialled.
fn recognise(
    answer: &Hello,
    ours: &Hello,
    peer: Option<NodeId>,
    stores: &dyn Stores,
) -> Result<u32, RefusalReason> {
    let wire = settle(answer, WireRange::of(ours))?;
    let Some(peer) = peer else { return Ok(wire) };
    if answer.cluster_id != ours.cluster_id {
        Err(RefusalReason::WrongCluster)
    } else if !same_incarnation(answer.incarnation, ours.incarnation) {
        Err(RefusalReason::WrongIncarnation)
    } else if answer.node_id == ours.node_id {
        Err(RefusalReason::SelfConnection)
    } else if NodeId(answer.node_id) != peer {
        Err(RefusalReason::WrongNode)
    } else if answer.lane != ours.lane {
        Err(RefusalReason::WrongLane)
    } else if !is_sound(answer, stores) {
        Err(RefusalReason::OldStore)
    } else {
        Ok(wire)
    }
}

/// The dialling side. `peer` is who must answer; `None` for a bootstrap call.
pub(crate) async fn greet(
    stream: Box<dyn Stream>,
    ours: Hello,
    peer: Option<NodeId>,
    introduction: &Introduction,
    counters: &Arc<Counters>,
) -> Result<Greeted, PeerError> {
    let greeting = async {
        let mut reader = FrameReader::new(stream, BytesMut::new(), counters.clone());
        let hello = encode(0, Some(Body::Hello(ours.clone())));
        reader
            .stream()
            .write_all(&hello)
            .await
            .map_err(|_| PeerError::Unreachable)?;
        reader
            .stream()
            .flush()
            .await
            .map_err(|_| PeerError::Unreachable)?;
        match reader.next(HELLO_FRAME_BYTES_MAX).await {
            Ok((frame, _)) => match frame.body {
                Some(Body::Hello(answer)) => {
                    let recognised = recognise(&answer, &ours, peer, introduction.stores.as_ref());
                    if recognised == Err(RefusalReason::WrongWire) {
                        let theirs = WireRange::of(&answer).to_string();
                        introduction.no_common_wire(answer.node_id, &answer.release, &theirs, counters);
                    }
                    if let (Err(RefusalReason::WrongIncarnation), Some(peer)) = (recognised, peer) {
                        introduction.heard_of(peer, answer.incarnation);
                    }
                    let wire = recognised.map_err(PeerError::Refused)?;
                    if let Some(peer) = peer {
                        introduction.settled.note(peer, wire, answer.level);
                        introduction.stores.accepted_by(peer);
                    }
                    let (stream, rest) = reader.into_parts();
                    Ok(Greeted { stream, rest })
                }
                Some(Body::Refusal(refusal)) => {
                    let reason = RefusalReason::parse(&refusal.reason);
                    if let (RefusalReason::OldStore, Some(peer)) = (reason, peer) {
                        introduction.stores.refused_by(peer);
                    }
                    if let (RefusalReason::WrongIncarnation, Some(peer)) = (reason, peer) {
                        introduction.heard_of(peer, said_incarnation(&refusal.message));
                    }
                    if reason == RefusalReason::WrongWire {
                        let (node, theirs) = (peer.map_or(0, |peer| peer.0), said_wire(&refusal.message));
                        introduction.no_common_wire(node, "unknown", &theirs, counters);
                    }
                    Err(PeerError::Refused(reason))
                }
                _ => Err(garbage(counters)),
            },
            Err(FrameError::Garbage) => Err(garbage(counters)),
            Err(FrameError::Ended) => Err(PeerError::Unreachable),
        }
    };
    let greeted = timeout(HANDSHAKE_DEADLINE, greeting)
        .await
        .unwrap_or(Err(PeerError::Unreachable));
    match &greeted {
        Ok(_) => add(&counters.connects, 1),
        Err(PeerError::Refused(_)) => add(&counters.refused_by_peer, 1),
        Err(_) => add(&counters.handshakes_failed, 1),
    }
    greeted
}

fn garbage(counters: &Counters) -> PeerError {
    add(&counters.garbage, 1);
    PeerError::Unreachable
}

/// The accepting side. `None` means that the connection is closed and counted.
pub(crate) async fn welcome(
    stream: Box<dyn Stream>,
    introduction: &Introduction,
    knows: impl Fn(NodeId) -> bool,
    counters: &Arc<Counters>,
) -> Option<(Greeted, Admission)> {
    let greeting = async {
        let mut reader = FrameReader::new(stream, BytesMut::new(), counters.clone());
        let hello = match reader.next(HELLO_FRAME_BYTES_MAX).await {
            Ok((frame, _)) => match frame.body {
                Some(Body::Hello(hello)) => hello,
                _ => {
                    add(&counters.garbage, 1);
                    return None;
                }
            },
            Err(FrameError::Garbage) => {
                add(&counters.garbage, 1);
                return None;
            }
            Err(FrameError::Ended) => {
                add(&counters.handshakes_failed, 1);
                return None;
            }
        };
        let stores = introduction.stores.as_ref();
        match admit(&hello, introduction.wire, &introduction.identity, stores, knows) {
            Ok((admission, wire)) => {
                let bootstrap = admission == Admission::Bootstrap;
                if let Admission::Peer { node, .. } = admission {
                    introduction.settled.note(node, wire, hello.level);
                }
                let mut ours = introduction.hello(Lane::Unspecified, bootstrap);
                ours.lane = hello.lane;
                let answer = encode(0, Some(Body::Hello(ours)));
                reader.stream().write_all(&answer).await.ok()?;
                reader.stream().flush().await.ok()?;
                add(&counters.accepts, 1);
                let (stream, rest) = reader.into_parts();
                Some((Greeted { stream, rest }, admission))
            }
            Err(reason) => {
                add(&counters.refusals, 1);
                let node = hello.node_id;
                let mut said = String::new();
                // Peers dial a node that starts again and again; that is no news.
                if reason == RefusalReason::NotInitialised {
                    tracing::debug!(%reason, node, "a connection is refused");
                } else if reason == RefusalReason::WrongWire {
                    let theirs = WireRange::of(&hello).to_string();
                    introduction.no_common_wire(node, &hello.release, &theirs, counters);
                    said = format!("{WIRE_IS}{}", introduction.wire);
                } else {
                    tracing::warn!(%reason, node, "a connection is refused");
                    if reason == RefusalReason::WrongIncarnation {
                        let own = introduction.identity.get().map_or(0, |known| known.incarnation);
                        said = format!("{INCARNATION_IS}{own}");
                    }
                }
                refuse(reader.stream(), reason.with_message(said)).await;
                None
            }
        }
    };
    match timeout(HANDSHAKE_DEADLINE, greeting).await {
        Ok(greeted) => greeted,
        Err(_) => {
            add(&counters.handshakes_failed, 1);
            None
        }
    }
}

/// Says why, then closes.
pub(crate) async fn refuse(stream: &mut Box<dyn Stream>, refusal: Refusal) {
    let frame = encode(0, Some(Body::Refusal(refusal)));
    // The connection ends in any case.
    let _ = stream.write_all(&frame).await;
    let _ = stream.shutdown().await;
}

#[cfg(test)]
mod tests {
    use spine_proto::storage::v1::StoreMark;

    use super::super::config::Identity;
    use super::*;

    fn good() -> Hello {
        Hello {
            magic: MAGIC,
            wire_min: 1,
            wire_max: 3,
            cluster_id: Bytes::from_static(b"the cluster of 1"),
            node_id: 2,
            lane: Lane::Log.into(),
            release: String::new(),
            level: 0,
            peer_address: String::new(),
            store: None,
            incarnation: 2,
        }
    }

    /// Whoever has started once only has an older copy.
    struct OneIsOld;

    impl Stores for OneIsOld {
        fn own(&self) -> Option<StoreMark> {
            None
        }
        fn log_position(&self) -> u64 {
            0
        }
        fn is_sound(&self, _: NodeId, mark: &StoreMark) -> bool {
            mark.starts > 1
        }
        fn refused_by(&self, _: NodeId) {}
        fn accepted_by(&self, _: NodeId) {}
        fn outlived(&self, _: NodeId, _: u32) {}
    }

    fn started(starts: u64) -> Option<StoreMark> {
        Some(StoreMark {
            starts,
            ..StoreMark::default()
        })
    }

    #[test]
    fn hellos_are_judged() {
        use RefusalReason::{
            NotInitialised, OldStore, SelfConnection, UnknownNode, WrongCluster, WrongIncarnation, WrongLane,
            WrongMagic, WrongWire,
        };
        let own = IdentityCell::known(Identity {
            node: NodeId(1),
            cluster_id: good().cluster_id,
            incarnation: 2,
        });
        let peer = Admission::Peer {
            node: NodeId(2),
            lane: Lane::Log,
        };
        let wire = WireRange { min: 2, max: 4 };
        type Change = fn(&mut Hello);
        let table: [(&str, Change, Result<Admission, RefusalReason>); 13] = [
            ("good", |_| (), Ok(peer)),
            ("magic", |h| h.magic = 7, Err(WrongMagic)),
            ("too new", |h| (h.wire_min, h.wire_max) = (5, 6), Err(WrongWire)),
            ("too old", |h| (h.wire_min, h.wire_max) = (0, 1), Err(WrongWire)),
            (
                "cluster",
                |h| h.cluster_id = Bytes::from_static(b"x"),
                Err(WrongCluster),
            ),
            ("unknown", |h| h.node_id = 9, Err(UnknownNode)),
            ("self", |h| h.node_id = 1, Err(SelfConnection)),
            ("lane", |h| h.lane = 77, Err(WrongLane)),
            ("an earlier life", |h| h.incarnation = 1, Err(WrongIncarnation)),
            ("says no incarnation", |h| h.incarnation = 0, Ok(peer)),
            ("an older copy", |h| h.store = started(1), Err(OldStore)),
            ("the newest", |h| h.store = started(2), Ok(peer)),
            (
                "bootstrap",
                |h| h.cluster_id = Bytes::new(),
                Ok(Admission::Bootstrap),
            ),
        ];
        for (name, change, expected) in table {
            let mut hello = good();
            change(&mut hello);
            let admitted = admit(&hello, wire, &own, &OneIsOld, |node| node.0 <= 3);
            assert!(admitted == expected.map(|admission| (admission, 3)), "{name}");
        }
        let nobody = IdentityCell::default();
        assert!(admit(&good(), wire, &nobody, &OneIsOld, |_| true) == Err(NotInitialised));
    }

    #[test]
    fn answers_are_judged() {
        let mut ours = good();
        ours.node_id = 1;
        let peer = Some(NodeId(2));
        assert_eq!(recognise(&good(), &ours, peer, &OneIsOld), Ok(3));
        assert_eq!(
            recognise(&good(), &ours, Some(NodeId(3)), &OneIsOld),
            Err(RefusalReason::WrongNode)
        );
        let mut other = good();
        other.lane = Lane::Bulk.into();
        assert_eq!(
            recognise(&other, &ours, peer, &OneIsOld),
            Err(RefusalReason::WrongLane)
        );
        let mut older = good();
        older.store = started(1);
        assert_eq!(
            recognise(&older, &ours, peer, &OneIsOld),
            Err(RefusalReason::OldStore)
        );
        assert_eq!(
            recognise(&ours, &ours, peer, &OneIsOld),
            Err(RefusalReason::SelfConnection)
        );
    }

    #[test]
    fn an_incarnation_in_the_text_of_a_refusal_is_a_number_or_nothing() {
        assert_eq!(said_incarnation(&format!("{INCARNATION_IS}7")), 7);
        for other in [
            "",
            "7",
            "this node is of incarnation -1",
            "this node is of incarnation 4294967296",
        ] {
            assert_eq!(said_incarnation(other), 0, "{other}");
        }
    }

    #[test]
    fn the_text_of_a_refusal_is_believed_only_where_it_is_a_range() {
        assert_eq!(said_wire("this node speaks wire 2 to 3"), "2 to 3");
        for hostile in [
            "",
            "this node speaks wire ",
            "this node speaks wire 1 to \u{1b}[2J",
            "2 to 3",
        ] {
            assert_eq!(said_wire(hostile), "another one");
        }
    }
}
