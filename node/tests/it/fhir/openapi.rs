//! The OpenAPI document and the gateway say the same.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use spine_node::gateway::http::{Dialect, openapi};

use super::http::{ask, get};
use super::{at, code, put, three};

const COMMITTED: &str = "../docs/api/openapi.json";
const ROUTES: &str = include_str!("../../../src/gateway/http/routes.rs");
const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

fn document() -> Value {
    serde_json::from_str(openapi::document()).unwrap()
}

#[test]
fn the_committed_document_is_what_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(COMMITTED);
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, openapi::document()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == openapi::document(), "REWRITE=1 writes it anew");
}

#[test]
fn every_route_is_in_the_document_and_no_other() {
    let routes: BTreeSet<&str> = ROUTES
        .split(".route(\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let document = document();
    let documented: BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(|path| {
            let bases = [Dialect::Plain.base(), Dialect::Pds.base()];
            let inner = bases.into_iter().find_map(|base| path.strip_prefix(base));
            inner.unwrap_or(path)
        })
        .collect();
    assert_eq!(routes, documented);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_documented_is_there_and_no_other_method_is() {
    let nodes = three().await;
    let node = at(&nodes[0]);
    let number = put(&nodes[0], 1).await;
    let document = document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        if path.ends_with("_feed") {
            // It does not end.
            continue;
        }
        let url = path.replace("{id}", &number).replace("{version}", "1");
        for method in METHODS {
            let name = method.to_uppercase();
            let reply = ask(
                node,
                &name,
                &url,
                &[("x-request-id", "60e0b220-8136-4ca5-ae46-000000000001")],
                "",
            )
            .await;
            let documented = &methods[method];
            if documented.is_null() {
                assert_eq!(code(&reply), "405 UNSUPPORTED_SERVICE", "{method} {path}");
            } else {
                let status = reply.status.to_string();
                assert!(
                    documented["responses"][&status].is_object(),
                    "{method} {path}: {status}"
                );
                assert_ne!(reply.status, 405);
            }
        }
    }
    assert_eq!(get(node, "/openapi.json").await.json(), document);
    let page = get(node, "/docs").await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let text = page.text();
    assert!(
        !text.contains("https://") && !text.contains("//cdn"),
        "nothing is loaded from elsewhere"
    );
}
