//! The pages of `docs/runbooks`: their sections, their blocks of commands, and what the mark of a block means. Every block
//! is run by the tests in `runbooks.rs`. Our programs are asked whether they know the commands in the running text.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// Pages that a test plays.
const PLAYED: [&str; 4] = [
    "disk-full.md",
    "lost-quorum.md",
    "replace-node.md",
    "rolling-upgrade.md",
];
const README: &str = "README.md";
const SECTIONS: [&str; 5] = ["Symptom", "Confirm", "Act", "Verify", "Undo"];

/// Behind the fence of a block that is run in its turn.
const RUN: &str = "sh";
/// Behind that of what is run in front of each other block.
const BEFORE_EACH: &str = "sh before-each";

/// Asks our programs for their help instead of carrying commands out. Who else is called is passed over, and a hook is only
/// read.
const ASK: &str = r#"
PATH=$PROGRAMS
command_not_found_handle() { :; }
spine-node() { command spine-node "$@" --help >/dev/null; }
spinectl() {
  local word before=
  for word in "$@"; do
    [[ $before != --hook ]] || "$BASH" -n -c "$word"
    before=$word
  done
  command spinectl "$@" --help >/dev/null
}
"#;

/// Commands, and what is to come of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) script: String,
    pub(crate) exits_with: i32,
    /// Given again for so long.
    pub(crate) within: Option<Duration>,
}

/// Part of a page.
enum Part<'a> {
    Section(&'a str),
    Fenced(Fenced<'a>),
    Line(&'a str),
}

struct Fenced<'a> {
    /// Of the fence, from 1.
    line: usize,
    /// What stands behind the fence.
    mark: &'a str,
    lines: Vec<&'a str>,
}

pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the workspace").to_path_buf()
}

/// Where the programs are that were built with this one.
pub(crate) fn programs() -> PathBuf {
    let own = std::env::current_exe().expect("this program");
    let programs = own.ancestors().nth(2).expect("target/debug").to_path_buf();
    for program in ["spine-node", "spinectl", "faultdisk"] {
        let there = programs.join(program).is_file();
        assert!(
            there,
            "{program} is not built: run the tests of the whole workspace, or cargo build --workspace --bins"
        );
    }
    programs
}

pub(crate) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

pub(crate) fn read(page: &str) -> String {
    let path = root().join("docs/runbooks").join(page);
    fs::read_to_string(path).expect("a page of the runbooks")
}

/// The sections of a page in order, with the blocks that are run.
pub(crate) fn sections(page: &str) -> Vec<(String, Vec<Block>)> {
    let mut sections: Vec<(String, Vec<Block>)> = Vec::new();
    for part in parts(page) {
        match part {
            Part::Section(title) => sections.push((title.to_owned(), Vec::new())),
            Part::Fenced(fenced) if fenced.mark == RUN => {
                if let Some((_, blocks)) = sections.last_mut() {
                    blocks.push(block(&fenced.lines));
                }
            }
            Part::Fenced(_) | Part::Line(_) => {}
        }
    }
    sections
}

/// What the pages want in front of each block.
pub(crate) fn before_each() -> String {
    let page = read(README);
    let marked = parts(&page).into_iter().filter_map(|part| match part {
        Part::Fenced(fenced) if fenced.mark == BEFORE_EACH => Some(fenced.lines.join("\n")),
        Part::Fenced(_) | Part::Section(_) | Part::Line(_) => None,
    });
    let mut scripts: Vec<String> = marked.collect();
    let script = scripts.pop().expect("it stands in the README");
    assert!(scripts.is_empty(), "one");
    script
}

fn block(lines: &[&str]) -> Block {
    let first = lines.first().copied().unwrap_or_default();
    let exits_with = first.strip_prefix("# exits with ");
    let within = first
        .strip_prefix("# within ")
        .and_then(|rest| rest.strip_suffix(" s"));
    Block {
        script: lines.join("\n"),
        exits_with: exits_with.map_or(0, |code| code.parse().expect("an exit code")),
        within: within.map(|seconds| Duration::from_secs(seconds.parse().expect("seconds"))),
    }
}

fn parts(page: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut lines = (1..).zip(page.lines());
    while let Some((line, text)) = lines.next() {
        if let Some((fence, mark)) = fence(text) {
            let inside = lines.by_ref().map(|(_, text)| text);
            let lines = inside.take_while(|text| text.trim() != fence).collect();
            parts.push(Part::Fenced(Fenced { line, mark, lines }));
        } else if let Some(title) = text.strip_prefix("## ") {
            parts.push(Part::Section(title));
        } else {
            parts.push(Part::Line(text));
        }
    }
    parts
}

/// A fence that opens, of either kind, and what stands behind it.
fn fence(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    ['`', '~'].into_iter().find_map(|kind| {
        let rest = line.trim_start_matches(kind);
        let fence = &line[..line.len() - rest.len()];
        (fence.len() >= 3).then(|| (fence, rest.trim()))
    })
}

/// All pages by name.
fn pages() -> Vec<(String, String)> {
    let found = fs::read_dir(root().join("docs/runbooks")).expect("the runbooks");
    let names = found.map(|entry| entry.expect("a page").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    let with_text = |name: String| {
        let page = read(&name);
        (name, page)
    };
    names.into_iter().map(with_text).collect()
}

/// Blocks that no test runs.
fn faults(name: &str, page: &str) -> Vec<String> {
    let mut in_section = false;
    let mut faults = Vec::new();
    for part in parts(page) {
        match part {
            Part::Section(_) => in_section = true,
            Part::Line(line) if line.starts_with("    ") || line.starts_with('\t') => {
                faults.push(format!("{name}: a block without a fence: {line}"));
            }
            Part::Line(_) => {}
            Part::Fenced(Fenced { line, mark, .. }) => {
                let is_known = match mark {
                    RUN => in_section && PLAYED.contains(&name),
                    BEFORE_EACH => name == README,
                    _ => false,
                };
                if !is_known {
                    faults.push(format!("{name}:{line}: no test runs a block marked {mark:?}"));
                }
            }
        }
    }
    faults
}

/// Commands of ours in the running text, between single backticks.
fn in_text(page: &str) -> Vec<String> {
    let lines = parts(page).into_iter().filter_map(|part| match part {
        Part::Line(line) | Part::Section(line) => Some(line),
        Part::Fenced(_) => None,
    });
    let text: Vec<&str> = lines.collect();
    let text = text.join("\n");
    let spans = text.split('`').skip(1).step_by(2);
    spans
        .map(|span| span.replace('\n', " "))
        .filter(|span| span.starts_with("spinectl ") || span.starts_with("spine-node "))
        .collect()
}

/// Whether our programs know the commands of a script.
fn asked(programs: &Path, script: &str) -> Output {
    let dir = tempfile::tempdir().expect("a directory");
    let script = format!("{ASK}\n{script}");
    let mut bash = Command::new("bash");
    bash.args(["-eo", "pipefail", "-c", script.as_str()])
        .current_dir(dir.path())
        .env("PROGRAMS", programs);
    bash.output().expect("bash")
}

#[test]
fn pages_have_their_five_parts_and_commands() {
    for page in PLAYED {
        let sections = sections(&read(page));
        let titles: Vec<&str> = sections.iter().map(|(title, _)| title.as_str()).collect();
        assert!(titles.starts_with(&SECTIONS), "{page}: {titles:?}");
        for part in ["Confirm", "Act", "Verify"] {
            let (_, blocks) = sections
                .iter()
                .find(|(title, _)| title == part)
                .expect("it is there");
            assert!(!blocks.is_empty(), "{page}: nothing to do under {part}");
        }
    }
}

#[test]
fn blocks_are_read_as_they_are_marked() {
    let page =
        "# P\n## Act\n```sh\n# exits with 2\na\nb\n```\nx\n```\nnot run\n```\n```sh\n# within 7 s\nc\n```\n";
    let [(title, blocks)] = &sections(page)[..] else {
        panic!("one section");
    };
    assert_eq!(title, "Act");
    let marks: Vec<_> = blocks
        .iter()
        .map(|block| (block.exits_with, block.within))
        .collect();
    assert_eq!(marks, [(2, None), (0, Some(Duration::from_secs(7)))]);
    assert!(blocks[0].script.ends_with("a\nb"));
}

#[test]
fn every_block_is_run() {
    let pages = pages();
    let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    let mut known = PLAYED.to_vec();
    known.push(README);
    known.sort_unstable();
    assert_eq!(names, known, "each page has a test that plays it");
    let tests = include_str!("runbooks.rs");
    for page in PLAYED {
        let play = format!("play(\"{page}\"");
        assert!(tests.contains(&play), "nobody plays {page}");
    }
    let faults = pages.iter().flat_map(|(name, page)| faults(name, page));
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(!before_each().is_empty());
}

#[test]
fn a_block_that_is_not_run_is_told() {
    let page = |mark: &str| format!("## Act\n```{mark}\nreboot\n```\n");
    assert!(faults("disk-full.md", &page("sh")).is_empty());
    for mark in [
        "",
        "bash",
        "text",
        "sh later",
        "sh before-each",
        "sh not-run=systemd",
    ] {
        assert_eq!(faults("disk-full.md", &page(mark)).len(), 1, "{mark:?}");
    }
    assert_eq!(faults("unknown.md", &page("sh")).len(), 1);
    for page in [
        "```sh\nreboot\n```\n## Act\n",
        "## Act\n  ~~~\n  reboot\n  ~~~\n",
        "## Act\n\n    reboot\n",
        "## Act\n````\n```sh\nreboot\n```\n````\n",
    ] {
        assert_eq!(faults("disk-full.md", page).len(), 1, "{page}");
    }
}

#[test]
fn commands_in_the_text_are_known_to_our_programs() {
    let programs = programs();
    let mut spans = 0;
    for (name, page) in &pages() {
        let commands = in_text(page);
        spans += commands.len();
        for script in commands {
            let answer = asked(&programs, &script);
            assert!(answer.status.success(), "{name}: {script}\n{}", said(&answer));
        }
    }
    assert!(spans > 0, "commands in the text are not found");
}

#[test]
fn a_command_that_our_programs_do_not_know_is_told() {
    let programs = programs();
    let knows = |script: &str| asked(&programs, script).status.success();
    for good in [
        "spinectl node decommission 2",
        "A=b spine-node --config FILE",
        "systemctl restart spine-node",
        "spinectl upgrade apply --binary /new --hook '\n  ssh \"$host\" reboot'",
    ] {
        assert!(knows(good), "{good}");
    }
    for bad in [
        "spinectl node decomission 2",
        "spinectl upgrade apply --to /new",
        "spinectl upgrade apply --binary /new --hook 'if'",
        "spine-node --configuration FILE; true",
        "./no-such-script.sh",
    ] {
        assert!(!knows(bad), "{bad}");
    }
}
