//! How nodes come into a cluster that runs: with a token that works once, and under another address later.

use std::sync::Arc;
use std::time::Duration;

use spine_proto::internal::raft::v1::cluster_request::Kind;
use spine_proto::internal::raft::v1::cluster_response::Outcome;
use spine_proto::internal::raft::v1::peer_frame::Body;
use spine_proto::internal::raft::v1::{ClusterRequest, CreateToken, Join, SetAddresses};
use spine_proto::storage::v1::{JoinTokenRow, NodeState, PlanNode, SubTxn};
use tokio::time::{Instant, sleep};

use super::change::{self, Refused};
use super::meta::{MetaError, stored};
use super::rows;
use crate::clock::Clock as _;
use crate::node::Inner;

/// Bytes of a token's secret.
pub const TOKEN_BYTES: usize = 16;
/// A token is good for at most so long.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// One seed answers within this.
const SEED_DEADLINE: Duration = Duration::from_secs(5);
/// Between two rounds over the seeds.
const ROUND_PAUSE: Duration = Duration::from_secs(1);
/// Between two tries to tell the cluster of new addresses.
const TELL_PAUSE: Duration = Duration::from_secs(1);
/// One try.
const TELL_TIME: Duration = Duration::from_secs(5);

/// Why a node is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Nobody gave this token out.
    #[error("the join token is unknown")]
    Unknown,
    /// It was good for a while only.
    #[error("the join token has expired")]
    Expired,
    /// It lets in one node.
    #[error("the join token was used by another node")]
    Used,
    /// Longer than [`TOKEN_LIFE_MAX`].
    #[error("a join token is good for at most 7 days")]
    TooLong,
    /// Its replicas would stop at the first entry that says so, and the token would be used up.
    #[error("the cluster is at level {level} and the node's program knows levels to {knows}")]
    ReleaseTooOld { level: u32, knows: u32 },
}

impl JoinError {
    /// For programs.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unknown => "TOKEN_UNKNOWN",
            Self::Expired => "TOKEN_EXPIRED",
            Self::Used => "TOKEN_USED",
            Self::TooLong => "TOKEN_TOO_LONG",
            Self::ReleaseTooOld { .. } => "RELEASE_TOO_OLD",
        }
    }
}

/// What the cluster keeps of a token's secret.
#[must_use]
pub fn token_hash(secret: &[u8]) -> [u8; 32] {
    blake3::derive_key("spine 2026 join token", secret)
}

/// Remembers a token.
///
/// # Errors
/// [`MetaError`]
pub(super) async fn create_token(node: &Arc<Inner>, request: CreateToken) -> Result<(), MetaError> {
    let most = node.clock.now_ms() + i64::try_from(TOKEN_LIFE_MAX.as_millis()).unwrap_or(i64::MAX);
    if request.token_hash.len() != 32 {
        return Err(Refused::Malformed("the hash of a token is not 32 bytes").into());
    }
    if request.expires_at_ms > most {
        return Err(JoinError::TooLong.into());
    }
    let row = JoinTokenRow {
        expires_at_ms: request.expires_at_ms,
        ..JoinTokenRow::default()
    };
    let _one_at_a_time = node.changing.lock().await;
    let (running, shard) = node.leading_meta().await?;
    let sub = SubTxn {
        mutations: vec![rows::put_token(&request.token_hash, &row)],
        ..SubTxn::default()
    };
    node.commit_rows(&running, &shard, sub).await
}

/// Gives a node its place, once for each token; the node that used it may ask again. Returns its id.
///
/// # Errors
/// [`MetaError`]
pub(super) async fn let_in(node: &Arc<Inner>, request: Join) -> Result<u64, MetaError> {
    let newcomer = request.node.unwrap_or_default();
    let hash = token_hash(&request.token);
    let _one_at_a_time = node.changing.lock().await;
    let (running, shard) = node.leading_meta().await?;
    check_level(shard.group.store().status().level, request.level_max)?;
    let read = shard.group.store().read(|view| rows::token(view, &hash));
    let token = read
        .map_err(|error| MetaError::TryAgain(error.to_string()))?
        .map_err(|error| MetaError::TryAgain(error.to_string()))?
        .ok_or(JoinError::Unknown)?;
    if token.node_id != 0 {
        return if token.store_uuid == newcomer.store_uuid {
            Ok(token.node_id)
        } else {
            Err(JoinError::Used.into())
        };
    }
    if token.expires_at_ms < node.clock.now_ms() {
        return Err(JoinError::Expired.into());
    }
    let before = stored(&shard)?;
    let after = change::join(&before.plan, &newcomer)?;
    let node_id = after.nodes.last().map_or(0, |node| node.node_id);
    let used = JoinTokenRow {
        node_id,
        store_uuid: newcomer.store_uuid,
        ..token
    };
    let more = vec![rows::put_token(&hash, &used)];
    node.commit_rows(&running, &shard, rows::change(&before, &after, more))
        .await?;
    Ok(node_id)
}

/// The meta group is at a level before any other group is.
fn check_level(level: u32, knows: Option<u32>) -> Result<(), JoinError> {
    match knows {
        Some(knows) if knows < level => Err(JoinError::ReleaseTooOld { level, knows }),
        _ => Ok(()),
    }
}

/// Asks the seeds to be let in, round after round, until one does. Returns at once where no token is set.
pub async fn ask_to_join(node: Arc<Inner>) {
    let token = node.config.cluster.join_token.clone();
    if token.is_empty() {
        return;
    }
    let Some(secret) = parse_token(&token) else {
        tracing::error!("cluster.join_token is no join token");
        return;
    };
    let mine = node.config.listen.advertised_peer().to_string();
    let mut others: Vec<String> = node.config.cluster.seeds.clone();
    others.retain(|seed| *seed != mine);
    while node.running().is_none() {
        for seed in &others {
            match ask_seed(&node, seed, &secret).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(reason) => tracing::warn!(seed, reason, "not let into the cluster"),
            }
        }
        sleep(ROUND_PAUSE).await;
    }
}

/// Asks one seed, and whoever it names; true once this node is part of the cluster.
async fn ask_seed(node: &Arc<Inner>, seed: &str, secret: &[u8]) -> Result<bool, String> {
    let identity = node.own_identity().map_err(|error| error.to_string())?;
    let me = PlanNode {
        store_uuid: identity.store_uuid.to_vec().into(),
        ..node.addresses()
    };
    let request = ClusterRequest {
        kind: Some(Kind::Join(Join {
            token: secret.to_vec().into(),
            node: Some(me),
            level_max: Some(node.parts.release.levels.max),
        })),
    };
    let mut address = seed.to_string();
    // The seed, and the node that it names.
    for _ in 0..2 {
        let body = Body::Cluster(request.clone());
        let answer = node
            .peers
            .links()
            .call_address(&address, body, SEED_DEADLINE)
            .await;
        match answer {
            Ok(Body::ClusterDone(answer)) => match answer.outcome {
                Some(Outcome::Done(done)) => {
                    let plan = done.plan.ok_or("it gave no plan")?;
                    let adopted = node.adopt_as(plan, done.node_id).await;
                    return adopted.map(|()| true).map_err(|error| error.to_string());
                }
                Some(Outcome::Elsewhere(elsewhere)) if !elsewhere.peer_address.is_empty() => {
                    address = elsewhere.peer_address;
                }
                Some(Outcome::Refused(refusal)) => {
                    return Err(format!("{}: {}", refusal.reason, refusal.message));
                }
                Some(Outcome::Elsewhere(_)) | None => return Ok(false),
            },
            Ok(_) => return Err("it answered something else".to_string()),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(false)
}

/// A token as operators write it: 32 hexadecimal digits.
#[must_use]
pub fn parse_token(text: &str) -> Option<[u8; TOKEN_BYTES]> {
    if text.len() != 2 * TOKEN_BYTES || !text.is_ascii() {
        return None;
    }
    let mut secret = [0; TOKEN_BYTES];
    for (byte, at) in secret.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(secret)
}

/// Tells the cluster where this node is found, if that has changed, until it is known.
pub async fn tell_addresses(node: Arc<Inner>) {
    loop {
        let Some(running) = node.running() else { return };
        let plan = running.plan();
        let Some(known) = plan.nodes.iter().find(|known| known.node_id == running.node_id) else {
            return;
        };
        let mut now = node.addresses();
        let Ok(identity) = node.own_identity() else { return };
        now.store_uuid = if known.store_uuid.is_empty() {
            known.store_uuid.clone()
        } else {
            identity.store_uuid.to_vec().into()
        };
        now.state = known.state;
        if now == *known || known.state() == NodeState::Removed {
            return;
        }
        let request = ClusterRequest {
            kind: Some(Kind::SetAddresses(SetAddresses { node: Some(now) })),
        };
        match node.ask_meta(request, Instant::now() + TELL_TIME).await {
            Ok(_) => tracing::info!("the cluster knows this node's addresses"),
            Err(refusal) => {
                tracing::warn!(
                    reason = refusal.reason,
                    message = refusal.message,
                    "tell the cluster this node's addresses"
                );
            }
        }
        sleep(TELL_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_32_hexadecimal_digits() {
        let text = "000102030405060708090a0b0c0d0e0f";
        assert_eq!(parse_token(text).map(|secret| secret[15]), Some(15));
        for wrong in [
            "",
            "00",
            "zz0102030405060708090a0b0c0d0e0f",
            &text[1..],
            "é00102030405060708090a0b0c0d0e0",
        ] {
            assert_eq!(parse_token(wrong), None, "{} characters", wrong.len());
        }
    }
}
