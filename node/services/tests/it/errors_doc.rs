//! `docs/errors.md` says what every reason means, and no code invents one that is not there.

use std::fs;
use std::path::{Path, PathBuf};

use spine_services::error_table::{self, Outcome};
use spine_services::{ErrorKind, reason};

const DOCUMENT: &str = "../../docs/errors.md";
const BEGIN: &str =
    "<!-- table: kept equal to node/services/src/reason.rs by a test; REWRITE=1 writes it -->\n";
const KINDS: &str =
    "<!-- kinds: kept equal to node/services/src/error_table.rs by a test; REWRITE=1 writes it -->\n";
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn code(kind: ErrorKind) -> &'static str {
    CODES[usize::try_from(kind.grpc_code()).unwrap()]
}

/// The code and the HTTP status; that of the plain dialect behind it where it is another.
fn http(outcome: &Outcome) -> String {
    let Outcome {
        code,
        http,
        plain_http,
        ..
    } = outcome;
    if http == plain_http {
        format!("{http} {code}")
    } else {
        format!("{http} (plain {plain_http}) {code}")
    }
}

fn kinds() -> String {
    let mut table =
        "| kind | gRPC code | HTTP | issue | what the caller should do |\n|---|---|---|---|---|\n".to_owned();
    for row in error_table::ROWS {
        let (kind, code, http) = (row.kind, code(row.kind), http(&row.outcome));
        let Outcome { severity, issue, .. } = row.outcome;
        table += &format!(
            "| {kind:?} | {code} | {http} | {severity}, {issue} | {} |\n",
            row.to_do
        );
    }
    table
}

fn table() -> String {
    let mut table =
        "| reason | kind | gRPC code | HTTP | advice | meaning |\n|---|---|---|---|---|---|\n".to_owned();
    for reason in reason::ALL {
        let advice = reason.kind.advice().as_str_name().trim_start_matches("ADVICE_");
        let (word, kind, code) = (reason.word, reason.kind, code(reason.kind));
        let outcome = error_table::of_reason(word).unwrap_or_else(|| error_table::of_kind(kind).outcome);
        let http = http(&outcome);
        table += &format!(
            "| `{word}` | {kind:?} | {code} | {http} | {advice} | {} |\n",
            reason.meaning
        );
    }
    table
}

#[test]
fn the_document_is_the_table() {
    let text = fs::read_to_string(DOCUMENT).expect("docs/errors.md exists");
    let (head, rest) = text.split_once(KINDS).expect("docs/errors.md has the marker");
    let (_, between) = rest.split_once("\n\n").expect("text follows the kinds");
    let (between, _) = between
        .split_once(BEGIN)
        .expect("docs/errors.md has the second marker");
    let expected = format!("{head}{KINDS}{}\n{between}{BEGIN}{}", kinds(), table());
    if std::env::var_os("REWRITE").is_some() {
        fs::write(DOCUMENT, expected).unwrap();
    } else {
        assert!(
            text == expected,
            "docs/errors.md is behind src/reason.rs or src/error_table.rs: run this test with REWRITE=1"
        );
    }
}

#[test]
fn words_are_unique_and_well_formed() {
    let mut words: Vec<_> = reason::ALL.iter().map(|reason| reason.word).collect();
    assert!(
        words
            .iter()
            .all(|word| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
    );
    words.sort_unstable();
    assert!(
        words.is_sorted_by(|one, other| one < other),
        "a reason stands twice"
    );
    for kind in ErrorKind::ALL {
        assert!(
            reason::ALL.iter().any(|reason| reason.kind == kind),
            "{kind:?} has no reason"
        );
    }
}

/// The words that stand as literals where an error is made.
fn words_in(source: &str) -> Vec<String> {
    let makers = ["SpineError::new(", "Failure::invalid(", "Failure::refused("];
    let places = makers.iter().flat_map(|maker| source.match_indices(maker));
    let mut words = Vec::new();
    for (at, maker) in places {
        let rest: String = source[at + maker.len()..].chars().take(160).collect();
        let Some(literal) = rest.split('"').nth(1) else {
            continue;
        };
        let is_word = literal.len() > 3
            && literal
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        if is_word {
            words.push(literal.to_owned());
        }
    }
    words
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_code_invents_a_reason() {
    assert_eq!(
        words_in("SpineError::new(ErrorKind::Invalid, \"SOME_WORD\", \"text\")"),
        ["SOME_WORD"]
    );
    let mut found = Vec::new();
    sources(Path::new("../../node"), &mut found);
    assert!(found.len() > 20);
    for path in found.iter().filter(|path| !path.ends_with("errors_doc.rs")) {
        for word in words_in(&fs::read_to_string(path).unwrap()) {
            assert!(
                reason::find(&word).is_some(),
                "{} uses {word}, which docs/errors.md lacks",
                path.display()
            );
        }
    }
}
