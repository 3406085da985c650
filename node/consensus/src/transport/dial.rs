//! A connect to the first of several addresses that answers.

use std::io;

use tokio::time::timeout;

use super::limits::CONNECT_DEADLINE;
use crate::net::{Net, Stream};

/// Why no address answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectError {
    /// Every address refused: nobody listens there.
    Refused,
    /// Anything else; says nothing about the process.
    Unreachable,
}

pub(crate) async fn connect(net: &dyn Net, addresses: &[String]) -> Result<Box<dyn Stream>, ConnectError> {
    let mut error = if addresses.is_empty() {
        ConnectError::Unreachable
    } else {
        ConnectError::Refused
    };
    for address in addresses {
        match timeout(CONNECT_DEADLINE, net.connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(failed)) if failed.kind() == io::ErrorKind::ConnectionRefused => (),
            Ok(Err(_)) | Err(_) => error = ConnectError::Unreachable,
        }
    }
    Err(error)
}
