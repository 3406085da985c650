//! `spinectl population generate`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use spine_client::population::{Population as Patients, organisations};

use crate::args::Population;
use crate::exit::{Exit, Failure};
use crate::output::{data, progress, talk};

/// Bytes gathered before a write.
const WRITE_BYTES: usize = 256 * 1024;
/// Patients between two moves of the progress bar.
const STEP: u64 = 500;

pub(crate) fn run(command: Population) -> Result<Exit, Failure> {
    let (count, seed, out) = match command {
        Population::Generate { count, seed, out } => (count, seed, out),
        Population::Organisations { out } => return write_organisations(out.as_deref()),
    };
    let patients = Patients::new(seed);
    if count > patients.capacity() {
        return Err(Failure::usage(format!(
            "there are only {} numbers",
            patients.capacity()
        )));
    }
    match out {
        None => write(&patients, count, io::stdout().lock()).map_err(Failure::io("stdout"))?,
        Some(path) => write_file(&patients, count, &path)?,
    }
    Ok(Exit::Ok)
}

fn write_organisations(out: Option<&Path>) -> Result<Exit, Failure> {
    let mut csv = Vec::new();
    organisations::write_csv(&mut csv).map_err(Failure::io("memory"))?;
    match out {
        None => data(&csv)?,
        Some(path) => std::fs::write(path, &csv).map_err(Failure::io(path.display()))?,
    }
    Ok(Exit::Ok)
}

/// Writes beside the file and renames: a file of that name is always whole.
fn write_file(patients: &Patients, count: u64, path: &Path) -> Result<(), Failure> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let file = File::create(&unfinished).map_err(Failure::io(unfinished.display()))?;
    let written = write(patients, count, file).and_then(|()| std::fs::rename(&unfinished, path));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&unfinished);
        return Err(Failure::io(path.display())(error));
    }
    talk(format_args!("{count} patients in {}", path.display()));
    Ok(())
}

fn write(patients: &Patients, count: u64, out: impl Write) -> io::Result<()> {
    let bar = progress(count, "patients");
    let mut out = BufWriter::with_capacity(WRITE_BYTES, out);
    let mut done = 0;
    while done < count {
        let next = (done + STEP).min(count);
        patients.write_ndjson(&mut out, done..next)?;
        bar.inc(next - done);
        done = next;
    }
    out.flush()?;
    bar.finish_and_clear();
    Ok(())
}
