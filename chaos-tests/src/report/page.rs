//! The page as a whole, and its file.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::html::escape;
use super::journal::{Journal, Noted};
use super::{strip, suspect, timeline};

const WIDTH: u32 = 1_000;
/// Registers whose history is shown.
const SUSPECTS_MAX: usize = 3;
const VIOLATIONS_MAX: usize = 50;
const STYLE: &str = "body{font:14px/1.4 sans-serif;margin:2em;max-width:1040px;color:#222}\
svg{background:#f6f6f6;display:block;overflow:visible}svg text{font-size:10px}\
.fault{fill:#c60}.good{fill:#3a3}.read{fill:#37c}.bad{fill:#d33}.none{fill:#bbb}.named{fill:#d0c}\
tr.named td{background:#fcf}table{border-collapse:collapse;margin-top:.5em}td,th{border:1px solid #ccc;padding:1px 6px;\
text-align:left}pre{background:#eee;padding:.7em;overflow:auto}";

/// What the page says besides the journal.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Names the run; also the file, as far as its characters fit a file name.
    pub title: &'a str,
    /// Why it failed, in one line.
    pub problem: &'a str,
    /// Runs it again.
    pub command: &'a str,
    /// Further lines, as they are.
    pub lines: &'a [String],
}

/// Writes the report of a run and gives its path.
///
/// # Errors
/// What the file system says.
pub fn write(directory: &Path, page: &Page<'_>, journal: &Journal) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = page.title.chars().take(60).map(fits).collect();
    let path = directory.join(format!("{name}-{}.html", std::process::id()));
    fs::write(&path, render(page, &journal.noted()))?;
    Ok(path)
}

fn render(page: &Page<'_>, noted: &Noted) -> String {
    let (begin, end) = span(noted);
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><h1>{title}</h1><p><strong>{}</strong></p><h2>Run it again</h2><pre>{}</pre>",
        escape(page.problem),
        escape(page.command),
        title = escape(page.title)
    );
    let _ = write!(html, "<h2>Violations</h2>{}", violations(noted));
    let _ = write!(
        html,
        "<h2>Faults</h2>{}",
        timeline::draw(&noted.faults, begin, end, WIDTH)
    );
    let _ = write!(
        html,
        "<h2>Answers to clients</h2>{}",
        strip::draw(&noted.operations, begin, end, WIDTH)
    );
    for (key, named) in suspects(noted) {
        let history = suspect::draw(&key, &noted.operations, &named, WIDTH);
        let _ = write!(html, "<h2>History of {}</h2>{history}", escape(&key));
    }
    if !page.lines.is_empty() {
        let _ = write!(
            html,
            "<h2>Lines</h2><pre>{}</pre>",
            escape(&page.lines.join("\n"))
        );
    }
    html.push_str("</body></html>\n");
    html
}

/// From the first event to the last.
fn span(noted: &Noted) -> (u64, u64) {
    let calls = noted
        .operations
        .iter()
        .flat_map(|one| [Some(one.invoked_ns), one.returned_ns]);
    let faults = noted
        .faults
        .iter()
        .flat_map(|one| [Some(one.at_ns), one.until_ns]);
    let times = || calls.clone().chain(faults.clone()).flatten();
    (
        times().min().unwrap_or_default(),
        times().max().unwrap_or_default(),
    )
}

fn violations(noted: &Noted) -> String {
    if noted.violations.is_empty() {
        return "<p>No checker found one.</p>".to_owned();
    }
    let mut list = String::from("<ul>");
    for violation in noted.violations.iter().take(VIOLATIONS_MAX) {
        let _ = write!(list, "<li>{}</li>", escape(&violation.to_string()));
    }
    let more = noted.violations.len().saturating_sub(VIOLATIONS_MAX);
    if more > 0 {
        let _ = write!(list, "<li>and {more} more</li>");
    }
    list.push_str("</ul>");
    list
}

/// The registers that violations name, each with the operations they point at; else one with a failed call.
fn suspects(noted: &Noted) -> Vec<(String, Vec<u64>)> {
    let mut suspects: Vec<(String, Vec<u64>)> = Vec::new();
    for violation in noted
        .violations
        .iter()
        .filter(|violation| !violation.key.is_empty())
    {
        match suspects.iter().position(|(key, _)| *key == violation.key) {
            Some(at) => suspects[at].1.extend(&violation.operations),
            None if suspects.len() < SUSPECTS_MAX => {
                suspects.push((violation.key.clone(), violation.operations.clone()));
            }
            None => {}
        }
    }
    let unanswered = noted.operations.iter().find(|one| one.returned.is_none());
    if let (true, Some(one)) = (suspects.is_empty(), unanswered) {
        suspects.push((one.key.clone(), vec![one.id]));
    }
    suspects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::{Rule, Violation};
    use crate::history::testing::History;

    fn journal() -> Journal {
        let journal = Journal::on_real_time();
        let pause = journal.begin("pause <n1> & \"n2\"");
        journal.end(pause);
        journal.note("kill n3");
        let mut history = History::new();
        history.put(1, "<a>", 1).at(0, 1).ok(0, 5);
        history.read(2, "<a>").at(2, 3).sees(None, 0, 0, 6);
        history.put(3, "other", 2).at(4, 5).unknown();
        let found = Violation::new(Rule::LostValue, "<a>", &[1], "nothing </ul><script>".to_owned());
        journal.keep_history(&history.operations(), &[found]);
        journal
    }

    #[test]
    fn a_report_is_one_file_that_holds_everything_and_runs_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let page = Page {
            title: "kill-one <seed 7>",
            problem: "1 violation & more",
            command: "cargo prove --only 'kill-one'",
            lines: &["<img src=x onerror=alert(1)>".to_owned()],
        };
        let path = write(directory.path(), &page, &journal()).unwrap();
        assert!(
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("kill-one--seed-7--")
        );
        let html = fs::read_to_string(path).unwrap();
        for part in [
            "LostValue",
            "pause &lt;n1&gt;",
            "kill n3",
            "History of &lt;a&gt;",
            "cargo prove --only &#39;kill-one&#39;",
            "named",
        ] {
            assert!(html.contains(part), "{part} is missing");
        }
        for part in ["<script", "<img", "http:", "https:", "src=", "href="] {
            let plain = html.replace("&lt;img src=x", "");
            assert!(!plain.contains(part), "{part} must not stand there");
        }
    }

    #[test]
    fn an_empty_run_has_a_page() {
        let html = render(
            &Page {
                title: "t",
                problem: "p",
                command: "c",
                lines: &[],
            },
            &Noted::default(),
        );
        assert!(html.contains("No call was recorded") && html.contains("No fault was noted"));
    }

    #[test]
    fn without_a_violation_an_unanswered_call_is_the_suspect() {
        let journal = journal();
        let operations = journal.noted().operations;
        journal.keep_history(&operations, &[]);
        assert_eq!(suspects(&journal.noted()), [("other".to_owned(), vec![2])]);
    }
}
