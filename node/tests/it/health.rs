//! `grpc.health.v1` and reflection, asked over a socket.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::sleep;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus::{self, NotServing, Serving};
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::nodes::{Machine, SOON};

const DATA: [&str; 3] = ["", "spine.records.v1.RecordsService", "spine.pds.v1.PdsService"];
/// A new node of one syncs nothing any more after this.
const QUIET: Duration = Duration::from_millis(500);
const ADMIN: &str = "spine.admin.v1.AdminService";

async fn started() -> (Machine, Channel) {
    let mut machine = Machine::several(1).remove(0);
    machine.start().await.unwrap();
    let address = format!("http://{}", machine.config.listen.grpc);
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    (machine, channel)
}

fn asked(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

/// What a supervisor learns of it: the process ends as one that failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_stop_whose_last_sync_fails_is_no_good_end() {
    for fails in [false, true] {
        let (mut machine, _channel) = started().await;
        machine.init(&[machine.config.listen.peer.clone()]).await.unwrap();
        // A sync that fails before the stop is told by who watches the log; this one is to be the last.
        let mut syncs = 0;
        while syncs != machine.disk.counters().fsyncs {
            syncs = machine.disk.counters().fsyncs;
            sleep(QUIET).await;
        }
        if fails {
            // The first file of the log: a second one has nothing in it yet.
            let wal = machine.config.node.data_dir.join("wal");
            let files = machine.disk.shared().list(&wal).unwrap();
            machine.disk.fail_next_sync(Some(&wal.join(&files[0])));
        }
        let node = machine.node.take().unwrap();
        tokio::time::timeout(SOON, node.stop()).await.unwrap();
        assert_eq!(node.fatal().now_or_never().is_some(), fails);
    }
}

async fn says(client: &mut HealthClient<Channel>, services: &[&str], expected: ServingStatus) {
    for service in services {
        let answer = client.check(asked(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), expected, "{service}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_readiness_from_before_the_cluster_to_the_stop() {
    let (mut machine, channel) = started().await;
    let mut client = HealthClient::new(channel);
    says(&mut client, &DATA, NotServing).await;
    says(&mut client, &[ADMIN], Serving).await;
    let unknown = client.check(asked("no.such.Service")).await.err().unwrap();
    assert_eq!(unknown.code(), Code::NotFound);

    let mut seen = client.watch(asked("")).await.unwrap().into_inner();
    let mut next = async || {
        let answer = tokio::time::timeout(SOON, seen.next()).await.unwrap();
        answer.map(|answer| answer.unwrap().status())
    };
    assert_eq!(next().await, Some(NotServing));
    machine.init(&[machine.config.listen.peer.clone()]).await.unwrap();
    assert_eq!(next().await, Some(Serving));
    says(&mut client, &DATA, Serving).await;

    machine.inner().drain().await;
    says(&mut client, &DATA, NotServing).await;
    says(&mut client, &[ADMIN], Serving).await;
    assert_eq!(next().await, Some(NotServing));
    machine.inner().undrain();
    assert_eq!(next().await, Some(Serving));
    machine.stop().await;
    let last = next().await;
    assert!(matches!(last, None | Some(NotServing)), "{last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_shows_every_service() {
    let (mut machine, channel) = started().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel);
    let answers = client.server_reflection_info(tokio_stream::iter([request])).await;
    let answer = answers.unwrap().into_inner().next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("another answer");
    };
    let names: BTreeSet<&str> = list.service.iter().map(|service| &*service.name).collect();
    for name in DATA[1..].iter().chain(&[ADMIN, "grpc.health.v1.Health"]) {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    drop(client);
    machine.stop().await;
}
