//! Many calls over one stream, spoken as another library than ours would.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use spine_proto::calls::v1::answer::Outcome;
use spine_proto::calls::v1::calls_service_client::CallsServiceClient;
use spine_proto::calls::v1::{Answer, Call, CallBatch};
use spine_proto::common::v1::ErrorDetail;
use spine_proto::pds::v1::pds_service_client::PdsServiceClient;
use spine_proto::pds::v1::{SearchParameter, SearchRequest};
use spine_proto::records::v1::mutation::{Kind, Put};
use spine_proto::records::v1::{CommitRequest, CommitResponse, GetRequest, GetResponse, Mutation, RecordKey};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

use crate::nodes::{Machine, SOON, cluster};

const DEADLINE_MS: u32 = 5_000;
/// As many calls as a node takes on when it begins.
const MANY: u64 = 1_024;

fn call(id: u64, operation: &str, request: Bytes) -> Call {
    Call {
        id,
        operation: operation.to_owned(),
        request,
        deadline_ms: DEADLINE_MS,
        settle: false,
    }
}

fn put(number: u64) -> Bytes {
    let put = Put {
        suffix: Bytes::from_static(b"s"),
        value: number.to_be_bytes().to_vec().into(),
    };
    let request = CommitRequest {
        routing_key: format!("key-{number}"),
        mutations: vec![Mutation {
            kind: Some(Kind::Put(put)),
        }],
        request_id: format!("{number:032x}"),
        ..CommitRequest::default()
    };
    request.encode_to_vec().into()
}

fn get(number: u64) -> Bytes {
    let key = RecordKey {
        routing_key: format!("key-{number}"),
        suffix: Bytes::from_static(b"s"),
    };
    GetRequest { key: Some(key) }.encode_to_vec().into()
}

struct Stream {
    calls: mpsc::Sender<CallBatch>,
    answers: Streaming<spine_proto::calls::v1::AnswerBatch>,
    /// The last batch said that nothing else was looked at.
    complete: bool,
}

impl Stream {
    async fn open(machine: &Machine) -> Self {
        let address = format!("http://{}", machine.config.listen.grpc);
        let channel: Channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        let (calls, waiting) = mpsc::channel(8);
        let mut client = CallsServiceClient::new(channel);
        let opened = client.exchange(ReceiverStream::new(waiting));
        Self {
            calls,
            answers: opened.await.unwrap().into_inner(),
            complete: false,
        }
    }

    async fn send(&self, calls: Vec<Call>) {
        self.calls.send(CallBatch { calls }).await.unwrap();
    }

    /// So many answers, or all there are until the end.
    async fn answers(&mut self, count: usize) -> BTreeMap<u64, Answer> {
        let mut all = BTreeMap::new();
        while all.len() < count {
            let next = tokio::time::timeout(SOON, self.answers.message()).await.unwrap();
            let Some(batch) = next.unwrap() else { return all };
            self.complete |= batch.complete;
            all.extend(batch.answers.into_iter().map(|answer| (answer.id, answer)));
        }
        all
    }
}

fn reason(answer: &Answer) -> (Code, String) {
    let Some(Outcome::Failure(failure)) = &answer.outcome else {
        panic!("no failure");
    };
    let detail = ErrorDetail::decode(failure.detail.clone()).unwrap();
    (Code::from_i32(failure.code), detail.reason)
}

fn response(answer: &Answer) -> Bytes {
    match &answer.outcome {
        Some(Outcome::Response(bytes)) => bytes.clone(),
        _ => panic!("no response"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_one_batch_have_an_answer_each_whatever_becomes_of_the_others() {
    let machines = cluster(3).await;
    for machine in &machines {
        let mut stream = Stream::open(machine).await;
        let puts = (1..=50).map(|number| call(number, "records.commit", put(number)));
        let wrong = [
            call(90, "records.forget", Bytes::new()),
            call(91, "records.commit", Bytes::from_static(&[0xff])),
            call(92, "records.watch", Bytes::new()),
        ];
        stream.send(puts.chain(wrong).collect()).await;
        let answers = stream.answers(53).await;
        for number in 1..=50 {
            let committed = CommitResponse::decode(response(&answers[&number])).unwrap();
            assert!(committed.revision > 0);
            assert!(!answers[&number].leader_address.is_empty());
        }
        assert_eq!(
            reason(&answers[&90]),
            (Code::Unimplemented, "UNKNOWN_OPERATION".to_owned())
        );
        assert_eq!(
            reason(&answers[&91]),
            (Code::InvalidArgument, "MALFORMED_REQUEST".to_owned())
        );
        assert!(
            matches!(answers[&92].outcome, Some(Outcome::Failure(_))),
            "a watch is no call"
        );
        stream.send(vec![call(1, "records.get", get(7))]).await;
        let found = GetResponse::decode(response(&stream.answers(1).await[&1])).unwrap();
        assert_eq!(found.record.unwrap().value, 7_u64.to_be_bytes().to_vec());
    }
}

/// Not read until others of its stream are answered, a call could be refused only when its caller no longer waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_too_many_is_refused_at_once_while_all_others_wait() {
    let mut machines = cluster(3).await;
    let mut stream = Stream::open(&machines[0]).await;
    // Without a majority everything waits for its deadline.
    for machine in &mut machines[1..] {
        machine.stop().await;
    }
    let many = |from: u64| (from..from + MANY).map(|number| call(number, "records.commit", put(number)));
    stream.send(many(1).collect()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stream.send(many(MANY + 1).collect()).await;
    let first = stream.answers(1).await;
    let (id, answer) = first.first_key_value().unwrap();
    assert!(*id > MANY, "call {id} was answered first");
    assert_eq!(reason(answer), (Code::ResourceExhausted, "BUSY".to_owned()));
}

/// Through a stream a search would ask one shard, and a number be given away without its claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nodes_alone_call_is_refused_to_callers_from_outside() {
    let machines = cluster(1).await;
    let mut stream = Stream::open(&machines[0]).await;
    // By then the shard has begun.
    stream.send(vec![call(1, "records.commit", put(1))]).await;
    response(&stream.answers(1).await[&1]);
    let parameters = [("family", "Smith"), ("birthdate", "1980-02-03")];
    let parameters = parameters.map(|(name, value)| SearchParameter {
        name: name.to_owned(),
        value: value.to_owned(),
    });
    let search = SearchRequest {
        parameters: parameters.to_vec(),
    };
    let steps = [
        "pds.claim",
        "pds.create",
        "pds.void",
        "pds.release",
        "pds.absorb",
        "pds.supersede",
        "pds.alike",
        "pds.watch",
        "organisations.load",
    ];
    let mut calls = vec![call(1, "pds.search", search.encode_to_vec().into())];
    calls.extend((2..).zip(steps).map(|(id, step)| call(id, step, Bytes::new())));
    let count = calls.len();
    stream.send(calls).await;
    for (id, answer) in stream.answers(count).await {
        let refused = (Code::PermissionDenied, "INTERNAL_OPERATION".to_owned());
        assert_eq!(reason(&answer), refused, "call {id}");
    }
    // By its own method it is asked of every shard.
    let address = format!("http://{}", machines[0].config.listen.grpc);
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let found = PdsServiceClient::new(channel).search(search).await.unwrap();
    assert_eq!(found.into_inner().positions.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_answers_what_it_has_read_and_says_that_this_was_all() {
    let mut machines = cluster(1).await;
    let mut stream = Stream::open(&machines[0]).await;
    stream.send(vec![call(1, "records.commit", put(1))]).await;
    assert_eq!(stream.answers(1).await.len(), 1);
    let mut machine = machines.remove(0);
    let stopping = tokio::spawn(async move { machine.stop().await });
    assert!(stream.answers(usize::MAX).await.is_empty());
    assert!(stream.complete);
    tokio::time::timeout(SOON, stopping).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_no_more_is_answered_to_the_end() {
    let machines = cluster(1).await;
    let mut stream = Stream::open(&machines[0]).await;
    stream
        .send(
            (1..=20)
                .map(|number| call(number, "records.commit", put(number)))
                .collect(),
        )
        .await;
    let (closed, _) = mpsc::channel(1);
    drop(std::mem::replace(&mut stream.calls, closed));
    let answered = tokio::time::timeout(Duration::from_secs(20), stream.answers(usize::MAX));
    assert_eq!(answered.await.unwrap().len(), 20);
    assert!(stream.complete);
}
