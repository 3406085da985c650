//! One try of a call, before it is known which way it goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tonic::Request;
use tonic::metadata::{KeyAndValueRef, MetadataMap, MetadataValue};

/// Asks a node not to execute a change but to say what became of its earlier tries: it answers as they would have, or
/// with `NOT_EXECUTED`.
const SETTLE_HEADER: &str = "spine-settle";

/// Whether a try was handed to its connection. It may wait for that longer than it may last: then it is taken back, and
/// for certain nothing happened. Either it is sent or it is taken back, never both.
#[derive(Debug, Default)]
pub(crate) struct Sending(AtomicU8);

const WAITS: u8 = 0;
const SENT: u8 = 1;
const TAKEN_BACK: u8 = 2;

impl Sending {
    /// True where it may be sent; from now on it counts as sent.
    pub(crate) fn send(&self) -> bool {
        self.leave(SENT)
    }

    /// True where it was not sent and never will be.
    pub(crate) fn take_back(&self) -> bool {
        self.leave(TAKEN_BACK)
    }

    fn leave(&self, into: u8) -> bool {
        let left = self
            .0
            .compare_exchange(WAITS, into, Ordering::AcqRel, Ordering::Acquire);
        left.is_ok()
    }
}

/// A request, and what goes with it.
pub(crate) struct Try<Q> {
    pub(crate) message: Q,
    /// Time left for this try.
    pub(crate) left: Duration,
    /// Not to be executed: what became of earlier tries is asked.
    pub(crate) settle: bool,
    /// Of every call of the client.
    pub(crate) metadata: Arc<MetadataMap>,
    pub(crate) sending: Arc<Sending>,
}

impl<Q> Try<Q> {
    /// As a call of its own carries it, which is sent at once.
    pub(crate) fn into_request(self) -> Request<Q> {
        let _ = self.sending.send();
        let mut request = Request::new(self.message);
        let metadata = request.metadata_mut();
        for pair in self.metadata.iter() {
            match pair {
                KeyAndValueRef::Ascii(key, value) => drop(metadata.insert(key, value.clone())),
                KeyAndValueRef::Binary(key, value) => drop(metadata.insert_bin(key, value.clone())),
            }
        }
        if self.settle {
            metadata.insert(SETTLE_HEADER, MetadataValue::from_static("1"));
        }
        request.set_timeout(self.left);
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_is_sent_or_taken_back_and_never_both() {
        let (sent, kept) = (Sending::default(), Sending::default());
        assert!(sent.send() && !sent.take_back() && !sent.send());
        assert!(kept.take_back() && !kept.send() && !kept.take_back());
    }
}
