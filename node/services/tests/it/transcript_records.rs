//! `testdata/records/*.txt`: the generic record store as its users see it.
//!
//! `commit key=K request=ID` takes one line for each guard and mutation: `if S absent`, `if S revision N`, `put S V`,
//! `delete S`. `get key=K suffix=S`. `list key=K [prefix=P] [size=N] [token=last]`.

use bytes::Bytes;
use datadriven::{TestCase, walk};
use spine_proto::records::v1::{
    CommitRequest, CommitResponse, GetRequest, GetResponse, Guard, ListRequest, ListResponse, Mutation,
    Record, RecordKey, guard, mutation,
};
use spine_services::SpineError;

use super::harness::{Shard, refusal};

#[test]
fn transcripts() {
    walk("testdata/records", |file| {
        let mut shard = Shard::new();
        let mut token = Bytes::new();
        file.run(|case| {
            let mut case = case.clone();
            let text = run(&mut shard, &mut token, &mut case).unwrap_or_else(|error| refusal(&error));
            case.expect_empty().expect("every argument is known");
            text
        });
    });
}

fn run(shard: &mut Shard, token: &mut Bytes, case: &mut TestCase) -> Result<String, SpineError> {
    match case.directive.as_str() {
        "commit" => {
            let request = commit(case);
            let done: CommitResponse = shard.call("records.commit", &request)?;
            let again = if done.replayed { ", by an earlier try" } else { "" };
            Ok(format!("committed at revision {}{again}\n", done.revision))
        }
        "get" => {
            let suffix = argument(case, "suffix").into();
            let request = GetRequest {
                key: Some(RecordKey {
                    routing_key: argument(case, "key"),
                    suffix,
                }),
            };
            let done: GetResponse = shard.call("records.get", &request)?;
            let position = done.position.unwrap();
            let record = done
                .record
                .as_ref()
                .map_or_else(|| "no such record\n".to_owned(), shown);
            Ok(format!(
                "{record}exact at index {} of shard {}\n",
                position.index, position.shard
            ))
        }
        "list" => {
            let page_token = match argument(case, "token").as_str() {
                "" => Bytes::new(),
                "last" => token.clone(),
                other => Bytes::from(other.to_owned()),
            };
            let request = ListRequest {
                routing_key: argument(case, "key"),
                suffix_prefix: argument(case, "prefix").into(),
                page_size: argument(case, "size").parse().unwrap_or(0),
                page_token,
            };
            let done: ListResponse = shard.call("records.list", &request)?;
            let mut text: String = done.records.iter().map(shown).collect();
            text += if done.next_page_token.is_empty() {
                "the last page\n"
            } else {
                "another page follows\n"
            };
            *token = done.next_page_token;
            Ok(text)
        }
        other => panic!("unknown directive {other}"),
    }
}

fn argument(case: &mut TestCase, name: &str) -> String {
    case.try_take_arg(name).unwrap().unwrap_or_default()
}

fn shown(record: &Record) -> String {
    let key = record.key.as_ref().unwrap();
    let suffix = String::from_utf8_lossy(&key.suffix);
    let value = String::from_utf8_lossy(&record.value);
    format!("{suffix} = {value}   (revision {})\n", record.revision)
}

fn commit(case: &mut TestCase) -> CommitRequest {
    let mut request = CommitRequest {
        routing_key: argument(case, "key"),
        request_id: argument(case, "request"),
        session: None,
        ..CommitRequest::default()
    };
    for line in case.input.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let suffix = |at: usize| Bytes::copy_from_slice(words[at].as_bytes());
        let mut mutate = |kind| request.mutations.push(Mutation { kind });
        match words.as_slice() {
            ["put", _, ..] => mutate(Some(mutation::Kind::Put(mutation::Put {
                suffix: suffix(1),
                value: words[2..].join(" ").into(),
            }))),
            ["delete", _] => mutate(Some(mutation::Kind::Delete(mutation::Delete {
                suffix: suffix(1),
            }))),
            ["nothing"] => mutate(None),
            ["if", _, "absent"] => {
                let condition = Some(guard::Condition::Absent(true));
                request.guards.push(Guard {
                    suffix: suffix(1),
                    condition,
                });
            }
            ["if", _, "revision", revision] => {
                let condition = Some(guard::Condition::RevisionIs(revision.parse().unwrap()));
                request.guards.push(Guard {
                    suffix: suffix(1),
                    condition,
                });
            }
            ["if", _] => request.guards.push(Guard {
                suffix: suffix(1),
                condition: None,
            }),
            _ => panic!("unknown line {line}"),
        }
    }
    request
}
