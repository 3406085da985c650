//! One try of a call, before it is known which way it goes.

use std::sync::Arc;
use std::time::Duration;

use tonic::Request;
use tonic::metadata::{KeyAndValueRef, MetadataMap, MetadataValue};

/// Asks a node not to execute a change but to say what became of its earlier tries: it answers as they would have, or
/// with `NOT_EXECUTED`.
const SETTLE_HEADER: &str = "spine-settle";

/// A request, and what goes with it.
pub(crate) struct Try<Q> {
    pub(crate) message: Q,
    /// Time left for this try.
    pub(crate) left: Duration,
    /// Not to be executed: what became of earlier tries is asked.
    pub(crate) settle: bool,
    /// Of every call of the client.
    pub(crate) metadata: Arc<MetadataMap>,
}

impl<Q> Try<Q> {
    /// As a call of its own carries it.
    pub(crate) fn into_request(self) -> Request<Q> {
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
