//! Every metric has its line in the documentation, and a name of the agreed form.

use std::path::Path;

use spine_node::telemetry::Metrics;
use spine_node::telemetry::metrics::{Operation, Request, Shard, mirror};

const UNITS: &[&str] = &[
    "bytes",
    "seconds",
    "total",
    "open",
    "index",
    "depth",
    "leaders",
    "connected",
    "build",
    "replicas",
    "trouble",
    "agreed",
    "limit",
    "milliseconds",
];

#[test]
fn every_metric_stands_in_the_documentation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let documentation = std::fs::read_to_string(path).unwrap();
    let metrics = Metrics::new();
    let expected: Vec<String> = metrics
        .described()
        .iter()
        .map(|m| format!("| `{}` | {} | {} | {} |", m.name, m.kind, m.labels, m.help))
        .collect();
    let rows: Vec<&str> = documentation
        .lines()
        .filter(|line| line.starts_with("| `spine_"))
        .collect();
    assert_eq!(
        rows,
        expected,
        "docs/metrics.md should have these rows:\n{}\n",
        expected.join("\n")
    );
}

#[test]
fn names_say_module_thing_and_unit() {
    for metric in Metrics::new().described() {
        let parts: Vec<&str> = metric.name.split('_').collect();
        assert_eq!(parts[0], "spine", "{}", metric.name);
        assert!(
            [
                "gateway", "dispatch", "shard", "node", "storage", "peer", "admin", "http"
            ]
            .contains(&parts[1]),
            "{}",
            metric.name
        );
        assert!(UNITS.contains(parts.last().unwrap()), "{}", metric.name);
    }
}

#[test]
fn values_are_scraped() {
    let metrics = Metrics::new();
    metrics
        .gateway
        .requests
        .get_or_create(&Request {
            operation: "pds.update",
            outcome: "ok",
        })
        .inc();
    metrics
        .gateway
        .request_seconds
        .get_or_create(&Operation {
            operation: "pds.update",
        })
        .observe(0.002);
    metrics
        .shard
        .applied_index
        .get_or_create(&Shard { shard: 2 })
        .set(41);
    mirror(&metrics.storage.fsyncs, 17);
    mirror(&metrics.storage.fsyncs, 18);
    let text = metrics.encode();
    for line in [
        "spine_gateway_requests_total{operation=\"pds.update\",outcome=\"ok\"} 1",
        "spine_gateway_request_seconds_bucket{le=\"0.0025\",operation=\"pds.update\"} 1",
        "spine_shard_applied_index{shard=\"2\"} 41",
        "spine_storage_fsyncs_total 18",
        "# TYPE spine_storage_fsyncs counter",
        "# EOF",
    ] {
        assert!(text.lines().any(|l| l == line), "{line:?} is missing in\n{text}");
    }
}
