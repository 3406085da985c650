//! A watch at one node, without a library that goes on elsewhere.

use prost::Message as _;
use spine_proto::common::v1::ErrorDetail;
use spine_proto::records::v1::records_service_client::RecordsServiceClient;
use spine_proto::records::v1::{WatchRequest, WatchResponse};
use tonic::{Status, Streaming};

/// A running watch of `watched`.
pub(crate) struct Raw {
    stream: Streaming<WatchResponse>,
    /// Highest index answered so far.
    last: Option<u64>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) leader_address: String,
}

impl End {
    fn of(status: &Status) -> Self {
        let detail = ErrorDetail::decode(status.details()).unwrap_or_default();
        Self {
            reason: detail.reason,
            message: status.message().to_owned(),
            leader_address: detail.leader_address,
        }
    }
}

impl Raw {
    pub(crate) async fn open(address: &str, from_index: u64) -> Result<Self, End> {
        let mut client = RecordsServiceClient::connect(format!("http://{address}"))
            .await
            .unwrap();
        let request = WatchRequest {
            routing_key: "watched".to_owned(),
            from_index,
            whole_shard: false,
        };
        match client.watch(request).await {
            Ok(answer) => Ok(Self {
                stream: answer.into_inner(),
                last: None,
            }),
            Err(status) => Err(End::of(&status)),
        }
    }

    pub(crate) async fn next(&mut self) -> Result<WatchResponse, End> {
        match self.stream.message().await {
            Ok(Some(message)) => {
                assert!(
                    self.last.is_none_or(|last| message.index > last),
                    "indexes rise, of marks too"
                );
                self.last = Some(message.index);
                Ok(message)
            }
            Ok(None) => panic!("a watch ends with a status"),
            Err(status) => Err(End::of(&status)),
        }
    }
}
