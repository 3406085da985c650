//! Registers many patients over several streams.

use std::sync::Arc;

use crate::call::Core;

/// Names a load: with the line number it makes each registration repeatable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadId(pub(crate) String);

/// How a load is to run.
#[derive(Clone)]
pub struct LoadBuilder {
    pub(crate) core: Arc<Core>,
    pub(crate) load_id: LoadId,
}

impl LoadBuilder {
    pub(crate) fn new(core: Arc<Core>, load_id: LoadId) -> Self {
        Self { core, load_id }
    }
}
