//! Whether and where to try again. Only the advice in an answer decides; where there is no answer,
//! the same request goes out again under the same request id, which is always safe.

use std::time::Duration;

use prost::Message as _;
use spine_proto::common::v1::ErrorDetail;
use tonic::{Code, Status};

use crate::address::Address;
use crate::dial::LinkError;
use crate::entropy::Entropy;
use crate::error::{Advice, Error};
use crate::options::{PAUSE_MAX, PAUSE_MIN};

/// What the end of one try means for the call.
pub(crate) enum Verdict {
    /// The caller gets this error.
    Final(Error),
    /// Not sent: for certain nothing happened. The next node, at once.
    NotSent,
    /// Sent, but whether it happened is unknown. The next node, same request id.
    Unanswered(Error),
    /// Refused for now: another node leads, perhaps this one.
    Elsewhere {
        leader: Option<Address>,
        shard: u32,
        error: Error,
    },
    /// Refused for now: the same node again after a while (zero: our own pause).
    Wait {
        after: Duration,
        shard: u32,
        error: Error,
    },
}

/// Reads the verdict out of a failed try.
pub(crate) fn judge(status: &Status) -> Verdict {
    if let Some(error) = link_error(status) {
        return match error {
            LinkError::NotSent => Verdict::NotSent,
            LinkError::Waited => Verdict::Wait {
                after: Duration::ZERO,
                shard: 0,
                error: Error::local(crate::ErrorKind::RateLimited, "CLIENT_BUSY", error.to_string()),
            },
            LinkError::Broken(_) | LinkError::Lost => Verdict::Unanswered(broken(&error.to_string())),
        };
    }
    let detail = detail(status);
    let advice = detail.as_ref().and_then(|d| Advice::of(d.advice));
    let (shard, after, leader) = detail.as_ref().map_or((0, Duration::ZERO, None), |d| {
        let after = Duration::from_millis(u64::from(d.retry_after_ms));
        (d.shard, after, Address::parse(&d.leader_address).ok())
    });
    let error = Error::answered(status.code(), status.message(), detail);
    match advice {
        Some(Advice::FixRequest | Advice::ReadAgain | Advice::Operator) => Verdict::Final(error),
        // A node that drains or knows no leader: another one may be further.
        Some(Advice::RetrySameId) if after.is_zero() => Verdict::Elsewhere { leader, shard, error },
        Some(Advice::RetrySameId | Advice::Wait) => Verdict::Wait { after, shard, error },
        Some(Advice::Elsewhere) => Verdict::Elsewhere { leader, shard, error },
        Some(Advice::OutcomeUnknown) => Verdict::Unanswered(error),
        None => judge_code(status.code(), error),
    }
}

/// An answer without advice: from a proxy, from tonic itself, or from a stream that broke halfway.
fn judge_code(code: Code, error: Error) -> Verdict {
    match code {
        Code::Unavailable
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::Aborted
        | Code::ResourceExhausted => Verdict::Unanswered(error),
        _ => Verdict::Final(error),
    }
}

fn broken(message: &str) -> Error {
    Error::local(crate::ErrorKind::Unavailable, "CONNECTION_BROKEN", message)
}

fn link_error(status: &Status) -> Option<&LinkError> {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref::<LinkError>() {
            return Some(found);
        }
        source = error.source();
    }
    None
}

fn detail(status: &Status) -> Option<ErrorDetail> {
    if status.details().is_empty() {
        return None;
    }
    ErrorDetail::decode(status.details()).ok()
}

/// Pauses between rounds of tries: 5 to 10 ms at first, doubling, never above 250 ms.
#[derive(Default)]
pub(crate) struct Backoff {
    rounds: u32,
}

impl Backoff {
    pub(crate) fn next(&mut self, entropy: &Entropy) -> Duration {
        let low = PAUSE_MIN
            .saturating_mul(1_u32.checked_shl(self.rounds).unwrap_or(u32::MAX))
            .min(PAUSE_MAX / 2);
        self.rounds = self.rounds.saturating_add(1);
        entropy.between(low, (low * 2).min(PAUSE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use spine_proto::common::v1::Advice;

    use super::{Backoff, Code, Entropy, ErrorDetail, PAUSE_MAX, Status, Verdict, judge};

    #[test]
    fn pauses_grow_with_jitter_between_5_and_250_ms() {
        let entropy = Entropy::from_seed(1);
        let mut firsts = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut backoff = Backoff::default();
            let first = backoff.next(&entropy);
            assert!((5..=10).contains(&first.as_millis()), "{first:?}");
            firsts.insert(first);
            for _ in 0..60 {
                assert!(backoff.next(&entropy) <= PAUSE_MAX);
            }
            assert!(backoff.next(&entropy) >= PAUSE_MAX / 2);
        }
        assert!(firsts.len() > 50, "jitter spreads the pauses");
    }

    fn status(code: Code, advice: Advice) -> Status {
        let detail = ErrorDetail {
            reason: "SOME_REASON".to_owned(),
            advice: advice.into(),
            retry_after_ms: 30,
            shard: 4,
            leader_address: "node-2:7401".to_owned(),
            ..ErrorDetail::default()
        };
        Status::with_details(code, "text", detail.encode_to_vec().into())
    }

    #[test]
    fn advice_decides_not_the_code() {
        let every_code = [
            Code::Unavailable,
            Code::Internal,
            Code::InvalidArgument,
            Code::Aborted,
        ];
        for code in every_code {
            assert!(matches!(
                judge(&status(code, Advice::FixRequest)),
                Verdict::Final(_)
            ));
            assert!(matches!(
                judge(&status(code, Advice::ReadAgain)),
                Verdict::Final(_)
            ));
            assert!(matches!(
                judge(&status(code, Advice::Operator)),
                Verdict::Final(_)
            ));
            assert!(matches!(
                judge(&status(code, Advice::OutcomeUnknown)),
                Verdict::Unanswered(_)
            ));
            let Verdict::Wait { after, shard, .. } = judge(&status(code, Advice::Wait)) else {
                panic!()
            };
            assert_eq!((after.as_millis(), shard), (30, 4));
            let Verdict::Elsewhere { leader, shard, error } = judge(&status(code, Advice::Elsewhere)) else {
                panic!()
            };
            assert_eq!(leader.unwrap().as_str(), "node-2:7401");
            assert_eq!((shard, error.reason.as_str()), (4, "SOME_REASON"));
        }
    }

    #[test]
    fn without_advice_only_broken_answers_are_tried_again() {
        for code in [
            Code::Unavailable,
            Code::Unknown,
            Code::Cancelled,
            Code::DeadlineExceeded,
        ] {
            assert!(matches!(judge(&Status::new(code, "")), Verdict::Unanswered(_)));
        }
        for code in [
            Code::InvalidArgument,
            Code::NotFound,
            Code::PermissionDenied,
            Code::Unimplemented,
        ] {
            assert!(matches!(judge(&Status::new(code, "")), Verdict::Final(_)));
        }
        let garbage = Status::with_details(Code::NotFound, "", vec![0xff, 0xff].into());
        assert!(matches!(judge(&garbage), Verdict::Final(_)));
    }
}
