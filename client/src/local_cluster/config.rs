//! The settings file of one local node.

use std::fmt::Write as _;
use std::fs;

use super::process::LocalNode;
use super::{LocalClusterError, PRINCIPAL};

/// Writes `spine.toml` into the node's directory. Further settings go on its command line, where
/// they are strongest.
pub(super) fn write(
    node: &mut LocalNode,
    peers: &[String],
    settings: &[String],
) -> Result<(), LocalClusterError> {
    let data_dir = node.dir().join("data");
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(args);
        text.push('\n');
    };
    line(format_args!("[node]"));
    line(format_args!("name = \"node-{}\"", node.number()));
    line(format_args!("data_dir = {}", quoted(&data_dir.to_string_lossy())));
    line(format_args!("[listen]"));
    line(format_args!("grpc = \"{}\"", node.grpc_address()));
    line(format_args!("peer = \"{}\"", node.peer_address()));
    line(format_args!("admin = \"{}\"", node.admin_address()));
    line(format_args!("[cluster]"));
    line(format_args!(
        "seeds = [{}]",
        peers
            .iter()
            .map(|peer| quoted(peer))
            .collect::<Vec<_>>()
            .join(", ")
    ));
    line(format_args!("[security]"));
    line(format_args!("mode = \"development\""));
    line(format_args!("development_principal = \"{PRINCIPAL}\""));
    fs::create_dir_all(node.dir()).map_err(LocalClusterError::io("make a node's directory"))?;
    fs::write(node.config_path(), text).map_err(LocalClusterError::io("write a node's settings"))?;
    node.set_arguments(settings);
    Ok(())
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
