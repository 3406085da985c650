//! Reads a body within its bounds.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use spine_services::{ErrorKind, SpineError, reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::HttpLimits;
use crate::dispatch::failure::{BUSY_PAUSE, busy};

/// Bodies are counted in units of so many bytes.
const UNIT_BYTES: usize = 1_024;

/// Memory for the bodies of all connections.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

/// A body, whose memory is counted while it lives.
pub(super) struct Read {
    pub(super) bytes: Bytes,
    _counted: OwnedSemaphorePermit,
}

impl Budget {
    pub(super) fn new(limits: &HttpLimits) -> Self {
        let units = (limits.bodies_bytes_max / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(units)))
    }

    /// The whole body.
    ///
    /// # Errors
    /// `RECORD_TOO_LARGE`, `REQUEST_TIMED_OUT`, `BUSY` where too many bodies are being read, `MALFORMED_REQUEST` where
    /// it breaks off.
    pub(super) async fn read(&self, body: Body, limits: &HttpLimits) -> Result<Read, SpineError> {
        let max = limits.body_bytes_max;
        let size = body.size_hint();
        if size.lower() > max as u64 {
            return Err(too_large(max));
        }
        // A length that was not told may be any.
        let told = size
            .exact()
            .and_then(|exact| usize::try_from(exact).ok())
            .unwrap_or(max);
        let units = u32::try_from(told.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let counted = Arc::clone(&self.0)
            .try_acquire_many_owned(units)
            .map_err(|_| busy(BUSY_PAUSE))?;
        let read = timeout(limits.body_timeout, Limited::new(body, max).collect());
        match read.await {
            Ok(Ok(collected)) => Ok(Read {
                bytes: collected.to_bytes(),
                _counted: counted,
            }),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(max)),
            Ok(Err(_)) => Err(SpineError::new(
                ErrorKind::Invalid,
                reason::MALFORMED_REQUEST,
                "the body breaks off",
            )),
            Err(_) => Err(SpineError::new(
                ErrorKind::Invalid,
                reason::REQUEST_TIMED_OUT,
                "the body did not arrive in time",
            )),
        }
    }
}

fn too_large(max: usize) -> SpineError {
    SpineError::new(
        ErrorKind::Invalid,
        reason::RECORD_TOO_LARGE,
        format!("a body has at most {max} bytes"),
    )
}
