//! `testdata/pds/*.txt`: what a practice sees of the Personal Demographics Service.
//!
//! `today` sets the clock, by UTC. `register request=ID` takes a Patient; `update patient=N version=V request=ID` its next
//! version; `retrieve patient=N`; `history patient=N [size=S] [before=V]`; `who name=ID` changes the caller.

use datadriven::{TestCase, walk};
use spine_proto::pds::v1::{
    HistoryRequest, HistoryResponse, Patient, RegisterRequest, RegisterResponse, RetrieveRequest,
    RetrieveResponse, UpdateRequest, UpdateResponse,
};
use spine_services::SpineError;

use super::harness::{Shard, refusal};

#[test]
fn transcripts() {
    walk("testdata/pds", |file| {
        let mut shard = Shard::new();
        file.run(|case| {
            let mut case = case.clone();
            let text = run(&mut shard, &mut case).unwrap_or_else(|error| refusal(&error));
            case.expect_empty().expect("every argument is known");
            text
        });
    });
}

fn run(shard: &mut Shard, case: &mut TestCase) -> Result<String, SpineError> {
    let body = case.input.trim().to_owned();
    match case.directive.as_str() {
        "today" => {
            let (date, time) = body.split_once(' ').unwrap_or((&body, "00:00"));
            let (hours, minutes) = time.split_once(':').unwrap();
            let minutes = hours.parse::<i64>().unwrap() * 60 + minutes.parse::<i64>().unwrap();
            shard.now_ms = midnight(date) + minutes * 60_000;
            Ok(String::new())
        }
        "who" => {
            shard.principal.id = case.take_arg("name").unwrap();
            Ok(String::new())
        }
        "register" => {
            let request = RegisterRequest {
                fhir_json: body.into(),
                request_id: argument(case, "request"),
                session: None,
                return_minimal: false,
            };
            let done: RegisterResponse = shard.call("pds.register", &request)?;
            Ok(changed("registered", done.patient, done.replayed))
        }
        "update" => {
            let request = UpdateRequest {
                nhs_number: argument(case, "patient"),
                version_id: argument(case, "version").parse().unwrap_or(0),
                fhir_json: body.into(),
                request_id: argument(case, "request"),
                session: None,
                return_minimal: false,
                ..UpdateRequest::default()
            };
            let done: UpdateResponse = shard.call("pds.update", &request)?;
            Ok(changed("updated", done.patient, done.replayed))
        }
        "retrieve" => {
            let request = RetrieveRequest {
                nhs_number: argument(case, "patient"),
            };
            let done: RetrieveResponse = shard.call("pds.retrieve", &request)?;
            Ok(shown(&done.patient.unwrap()))
        }
        "history" => {
            let request = HistoryRequest {
                nhs_number: argument(case, "patient"),
                page_size: argument(case, "size").parse().unwrap_or(0),
                before_version_id: argument(case, "before").parse().unwrap_or(0),
            };
            let done: HistoryResponse = shard.call("pds.history", &request)?;
            let mut text: String = done.versions.iter().map(shown).collect();
            if done.next_before_version_id > 0 {
                text += &format!("more before version {}\n", done.next_before_version_id);
            }
            Ok(text)
        }
        other => panic!("unknown directive {other}"),
    }
}

fn argument(case: &mut TestCase, name: &str) -> String {
    case.try_take_arg(name).unwrap().unwrap_or_default()
}

fn changed(what: &str, patient: Option<Patient>, replayed: bool) -> String {
    let again = if replayed {
        " earlier, by this very request"
    } else {
        ""
    };
    format!("{what}{again}\n{}", shown(&patient.unwrap()))
}

fn shown(patient: &Patient) -> String {
    let json = std::str::from_utf8(&patient.fhir_json).unwrap();
    format!(
        "{} version {}\n  {json}\n",
        patient.nhs_number, patient.version_id
    )
}

/// Milliseconds at the start of a day `yyyy-mm-dd`, counted day by day from 1970.
fn midnight(date: &str) -> i64 {
    let parts: Vec<i64> = date.split('-').map(|part| part.parse().unwrap()).collect();
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days_in = |year, month| match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let years: i64 = (1970..parts[0]).map(|year| 365 + i64::from(is_leap(year))).sum();
    let months: i64 = (1..parts[1]).map(|month| days_in(parts[0], month)).sum();
    (years + months + parts[2] - 1) * 86_400_000
}
