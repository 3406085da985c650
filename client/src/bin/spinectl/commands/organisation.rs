//! `spinectl organisation load`.

use std::path::Path;

use spine_client::Organisation;

use super::patient::read;
use crate::args::Organisations;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::talk;

pub(crate) async fn run(context: &Context, command: Organisations) -> Result<Exit, Failure> {
    let Organisations::Load { file } = command;
    load(context, &file).await
}

async fn load(context: &Context, file: &Path) -> Result<Exit, Failure> {
    let text = read(file)?;
    let text =
        String::from_utf8(text).map_err(|_| Failure::usage(format!("{} is no text", file.display())))?;
    let organisations = Organisation::parse_csv(&text)
        .map_err(|(line, what)| Failure::usage(format!("{}, line {line}: {what}", file.display())))?;
    context.client()?.pds().load_organisations(&organisations).await?;
    talk(format_args!(
        "{} organisations in every shard",
        organisations.len()
    ));
    Ok(Exit::Ok)
}
