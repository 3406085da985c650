//! `SPINE_LISTEN__GRPC=127.0.0.1:7401` sets `listen.grpc`.

/// What every variable of ours begins with.
const PREFIX: &str = "SPINE_";
/// Between section and key. Names without it belong to the command line tools, for example `SPINE_ENDPOINTS`.
const SEPARATOR: &str = "__";

/// What a variable's name means.
pub(crate) enum Meaning {
    /// A `section.key` path, known or not.
    Path(String),
    /// A known path written with a single underscore.
    Misspelt { path: String, right: String },
    /// Not a setting.
    Other,
}

pub(crate) fn meaning(name: &str, paths: &[String]) -> Meaning {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return Meaning::Other;
    };
    if let Some((section, key)) = rest.split_once(SEPARATOR) {
        return Meaning::Path(format!("{}.{}", section.to_lowercase(), key.to_lowercase()));
    }
    let flat = rest.to_lowercase();
    match paths.iter().find(|path| path.replace('.', "_") == flat) {
        Some(path) => Meaning::Misspelt {
            path: path.clone(),
            right: variable(path),
        },
        None => Meaning::Other,
    }
}

/// The variable of a path.
pub(crate) fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', SEPARATOR).to_uppercase())
}
