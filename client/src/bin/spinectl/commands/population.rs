//! `spinectl population generate`.

use crate::args::Population;
use crate::exit::{Exit, Failure};

pub(crate) async fn run(command: Population) -> Result<Exit, Failure> {
    let Population::Generate { .. } = command;
    Err(Failure::generic("not there yet"))
}
