//! The documentation is checked: the table of invariants names what exists, and links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for dir in [
        root().join("docs"),
        root().join("docs/adr"),
        root().join("docs/api"),
        root().join("docs/runbooks"),
    ] {
        let found = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(found.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    pages
}

/// One line of the table.
struct Row {
    id: String,
    sentence: String,
    place: String,
    test: String,
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(root().join("docs/INVARIANTS.md")).unwrap();
    let table = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| id"));
    table
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [id, sentence, place, test] = cells[..] else {
                panic!("not four cells: {line}")
            };
            let bare = |cell: &str| cell.trim_matches('`').to_owned();
            Row {
                id: id.to_owned(),
                sentence: sentence.to_owned(),
                place: bare(place),
                test: bare(test),
            }
        })
        .collect()
}

/// `path::name`: the file's text and the name.
fn open(reference: &str) -> Result<(String, &str), String> {
    let (path, name) = reference
        .split_once("::")
        .ok_or_else(|| format!("{reference:?} is not path::name"))?;
    let text = fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}"))?;
    Ok((text, name))
}

fn has_word(text: &str, name: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| word == name)
}

/// True if `fn name` stands there below a `#[test]` of any kind.
fn has_test(text: &str, name: &str) -> bool {
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            marked |= line.contains("test]") || line.contains("test(");
        } else if let Some((_, rest)) = line.split_once("fn ") {
            let found = rest.split(['(', '<']).next() == Some(name);
            if found && marked {
                return true;
            }
            marked = false;
        }
    }
    false
}

/// What is wrong with the two references of a row.
fn faults(row: &Row) -> Vec<String> {
    let mut faults = Vec::new();
    match open(&row.place) {
        Ok((text, name)) if !has_word(&text, name) => faults.push(format!("{name} is not in {}", row.place)),
        Ok(_) => {}
        Err(why) => faults.push(why),
    }
    if let Some(id) = row.test.strip_prefix("prove ") {
        let file = format!("chaos-tests/src/prove/rows/{}.rs", id.replace('-', "_"));
        if !root().join(&file).exists() {
            faults.push(format!("there is no {file}"));
        }
        return faults;
    }
    match open(&row.test) {
        Ok((text, name)) if !has_test(&text, name) => faults.push(format!("no test {name} in {}", row.test)),
        Ok(_) => {}
        Err(why) => faults.push(why),
    }
    faults
}

#[test]
fn every_invariant_names_its_place_and_its_test() {
    let all: Vec<String> = rows()
        .iter()
        .flat_map(|row| faults(row).into_iter().map(|why| format!("{}: {why}", row.id)))
        .collect();
    assert!(all.is_empty(), "docs/INVARIANTS.md:\n{}", all.join("\n"));
}

#[test]
fn invariants_have_unique_ids_and_a_sentence() {
    let rows = rows();
    assert!(rows.len() >= 10, "the table is not read");
    let mut seen = BTreeSet::new();
    for row in rows {
        let (area, number) = row.id.rsplit_once('-').unwrap();
        assert!(area.chars().all(|c| c.is_ascii_uppercase()), "{}", row.id);
        number.parse::<u32>().unwrap();
        assert!(row.sentence.ends_with('.'), "{} is no sentence", row.id);
        assert!(seen.insert(row.id.clone()), "{} stands there twice", row.id);
    }
}

#[test]
fn the_checks_can_fail() {
    let row = |place: &str, test: &str| Row {
        id: "X-1".into(),
        sentence: "X.".into(),
        place: place.into(),
        test: test.into(),
    };
    let here = "cluster-config/tests/it/docs.rs";
    assert_eq!(
        faults(&row(
            &format!("{here}::has_test"),
            &format!("{here}::the_checks_can_fail")
        )),
        [""; 0]
    );
    assert_eq!(
        faults(&row(
            &format!("{here}::no_{}", "such"),
            &format!("{here}::has_test")
        ))
        .len(),
        2
    );
    assert_eq!(faults(&row("nowhere.rs::x", "prove no-such-row")).len(), 2);
}

#[test]
fn every_link_leads_somewhere() {
    let mut dead = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            let target = target.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            if !page.parent().unwrap().join(target).exists() {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}
