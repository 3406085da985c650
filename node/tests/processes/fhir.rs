//! FHIR over HTTP against real processes: the documented calls, and a node that dies between two tries.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use spine_client::local_cluster::{LocalCluster, Plan, free_ports};
use spine_client::population::Population;

const START: Duration = Duration::from_secs(60);
const DOCUMENT: &str = "../docs/api/pds.md";
/// A block that takes longer hangs.
const BLOCK_SECONDS: &str = "60";
/// Calls that the document shows in each language.
const CALLS: usize = 5;

/// A language of the document.
struct Language {
    /// What a block begins with, up to what it must print.
    head: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    /// Before the block: calls of `curl` print their status instead of their answer.
    prelude: &'static str,
}

static LANGUAGES: [Language; 3] = [
    Language {
        head: "sh\n# ",
        program: "bash",
        arguments: &["-euc"],
        prelude: "curl() { command curl --max-time 20 -o /dev/null -w '%{http_code}\\n' \"$@\"; }\n",
    },
    Language {
        head: "python\n# ",
        program: "python3",
        arguments: &["-c"],
        prelude: "",
    },
    Language {
        head: "js\n// ",
        program: "node",
        arguments: &["--input-type=module", "-e"],
        prelude: "",
    },
];

/// A block of the document.
struct Block {
    language: &'static Language,
    /// What it must print.
    printed: String,
    script: String,
}

/// Three nodes, and where each is reached over HTTP.
async fn cluster() -> (LocalCluster, Vec<String>) {
    let ports = free_ports(3).unwrap();
    let common = ["storage.segment_bytes=8388608", "storage.min_free_bytes=67108864"];
    let http = ports
        .iter()
        .map(|port| vec![format!("listen.http=127.0.0.1:{port}")]);
    let plan = Plan {
        shards: 2,
        settings: common.iter().map(ToString::to_string).collect(),
        node_settings: http.collect(),
        ..Plan::new(env!("CARGO_BIN_EXE_spine-node"))
    };
    let cluster = LocalCluster::launch(plan, START).await.unwrap();
    let bases = ports.iter().map(|port| format!("http://127.0.0.1:{port}"));
    (cluster, bases.collect())
}

/// The blocks of the document that are run, in its order.
fn blocks() -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let text = fs::read_to_string(path).unwrap();
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.filter_map(block).collect()
}

fn block(text: &str) -> Option<Block> {
    LANGUAGES.iter().find_map(|language| {
        let (printed, script) = text.strip_prefix(language.head)?.split_once('\n')?;
        Some(Block {
            language,
            printed: printed.to_owned(),
            script: script.to_owned(),
        })
    })
}

/// Whether this machine has what runs the blocks of a language. Where it has not, that is said: not a pass to be mistaken
/// for one; the harness shows this line with --nocapture.
fn is_here(program: &str) -> bool {
    let here = Command::new(program).arg("--version").output().is_ok();
    if !here {
        let said = format!("SKIPPED: no {program}\n");
        let _ = std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes());
    }
    here
}

/// Those that this machine can run.
fn blocks_here() -> Vec<Block> {
    let mut all = blocks();
    for language in &LANGUAGES {
        let of_language = |block: &&Block| block.language.program == language.program;
        let count = all.iter().filter(of_language).count();
        assert!(count >= CALLS, "{count} blocks for {}", language.program);
    }
    let missing: Vec<&str> = LANGUAGES
        .iter()
        .map(|language| language.program)
        .filter(|program| !is_here(program))
        .collect();
    all.retain(|block| !missing.contains(&block.language.program));
    all
}

/// The answer to a search.
fn search(base: &str, query: &str) -> Value {
    let url = format!("{base}/personal-demographics/FHIR/R4/Patient?{query}");
    let id = "x-request-id: 60e0b220-8136-4ca5-ae46-1d97ef59d068";
    let output = Command::new("curl")
        .args(["-s", "--max-time", "20", "-H", id, &url])
        .output();
    serde_json::from_slice(&output.unwrap().stdout).unwrap()
}

/// Every patient is found, whichever shard it is in and whoever is asked.
async fn check_searches(cluster: &LocalCluster, bases: &[String]) {
    for (index, base) in (10..40).zip(bases.iter().cycle()) {
        let patient = Population::new(3).patient(index);
        cluster
            .client()
            .pds()
            .register(patient.json.clone())
            .await
            .unwrap();
        let resource: Value = serde_json::from_str(&patient.json).unwrap();
        let (name, birth) = (&resource["name"][0], resource["birthDate"].as_str().unwrap());
        let (family, given) = (
            name["family"].as_str().unwrap(),
            name["given"][0].as_str().unwrap(),
        );
        for query in [
            format!("family={family}&birthdate={birth}"),
            format!("family={given}&given={family}&birthdate={birth}&_fuzzy-match=true"),
        ] {
            let found = search(base, &query);
            let entries = found["entry"].as_array().unwrap_or_else(|| panic!("{found}"));
            let ids: Vec<&str> = entries
                .iter()
                .filter_map(|entry| entry["resource"]["id"].as_str())
                .collect();
            assert!(
                ids.contains(&patient.nhs_number.as_str()),
                "patient {index} of the population"
            );
        }
    }
}

/// As `start.sh` does.
async fn load_sandbox(cluster: &LocalCluster) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster-config/sandbox");
    let pds = cluster.client().pds();
    for line in fs::read_to_string(dir.join("patients.ndjson")).unwrap().lines() {
        pds.register(line.to_owned()).await.unwrap();
    }
    let second = fs::read_to_string(dir.join("9000000009.json")).unwrap();
    pds.update("9000000009", 1, second).await.unwrap();
}

/// What the contract says that public examples of the national service's sandbox find.
fn check_sandbox(base: &str) {
    let full =
        "family=Smith&gender=female&birthdate=eq2010-10-22&email=jane.smith@example.com&phone=01632960587";
    let wild = "family=Sm*&gender=female&birthdate=eq2010-10-22";
    let email = "email=jane.smith@example.com&phone=01632960587";
    for (query, total) in [
        (full.to_owned(), 1),
        (
            format!("{wild}&email=deb.trotter@example.com&phone=0121111111"),
            0,
        ),
        (wild.to_owned(), 2),
        (format!("{wild}&{email}&_max-results=1"), 1),
        (format!("{full}&given=Jane&_fuzzy-match=true"), 1),
        (
            "family=Smythe&given=Janet&gender=female&birthdate=eq2005-06-16".to_owned(),
            1,
        ),
        (
            "family=Smith&given=John%20Paul&given=James&gender=male&birthdate=eq2010-10-22".to_owned(),
            1,
        ),
    ] {
        assert_eq!(search(base, &query)["total"], total, "{query}");
    }
}

/// What a block prints; with what it complains of where it fails.
fn run(block: &Block, base: &str, number: &str) -> String {
    let language = block.language;
    let output = Command::new("timeout")
        .args([BLOCK_SECONDS, language.program])
        .args(language.arguments)
        .arg(format!("{}{}", language.prelude, block.script))
        .env("BASE", base)
        .env("NHS", number)
        .output()
        .unwrap();
    let mut said = output.stdout;
    if !output.status.success() {
        said.extend(output.stderr);
    }
    String::from_utf8_lossy(&said).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_calls_answer_as_documented_at_every_node() {
    if !is_here("curl") {
        return;
    }
    let (mut cluster, bases) = cluster().await;
    let patient = Population::new(3).patient(1);
    cluster.client().pds().register(patient.json).await.unwrap();
    let number = patient.nhs_number;
    load_sandbox(&cluster).await;
    check_sandbox(&bases[0]);
    let blocks = blocks_here();
    for (block, base) in blocks.iter().zip(bases.iter().cycle()) {
        assert_eq!(run(block, base, &number), block.printed, "{}", block.script);
    }

    check_searches(&cluster, &bases).await;

    // A node dies; the same change under the same id, elsewhere, has taken effect once.
    let change = blocks
        .iter()
        .find(|block| block.script.contains("000000000001"))
        .unwrap();
    cluster.kill(1).unwrap();
    for base in &bases[1..] {
        assert_eq!(run(change, base, &number), "200");
    }
    let now = cluster.client().pds().retrieve(&number).await.unwrap();
    assert_eq!(now.version_id, 3, "the two changes of the document");
}
