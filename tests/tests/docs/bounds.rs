//! The table of bounds in `docs/reference/security.md`: each figure is the one that the program is built with, each row is tried by a
//! test that exists, and no bound of a file that is named there is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use kube::CustomResourceExt;
use trimtab_crds::{Autoscaler, ConfigPolicy};

/// A row.
struct Bound {
    of: String,
    most: String,
    /// A file and a constant in it, or a kind and a path in its schema.
    place: (String, String),
    beyond: String,
    tests: Vec<String>,
}

/// What a bound comes to: bytes and counts, or milliseconds.
#[derive(Debug, PartialEq, Eq)]
enum Figure {
    Count(u128),
    Millis(u128),
}

fn rows(page: &str) -> Result<Vec<Bound>> {
    let table = page.split("<!-- bounds -->").nth(1).context("the page has lost its table of bounds")?;
    let lines =
        table.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).skip(2);
    lines.map(row).collect()
}

fn row(line: &str) -> Result<Bound> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [of, most, place, beyond, tests] = cells.as_slice() else { bail!("not five cells: {line}") };
    let (file, name) = place.trim_matches('`').split_once(": ").with_context(|| format!("no place: {line}"))?;
    let tests =
        tests.split(", ").map(|name| name.trim_matches('`').to_owned()).filter(|name| !name.is_empty()).collect();
    Ok(Bound {
        of: (*of).to_owned(),
        most: (*most).to_owned(),
        place: (file.to_owned(), name.to_owned()),
        beyond: (*beyond).to_owned(),
        tests,
    })
}

/// A figure as the page writes it.
fn written(text: &str) -> Result<Figure> {
    let (number, unit) = match text.rsplit_once(' ') {
        Some((number, unit)) if unit.parse::<u128>().is_err() => (number, unit),
        _ => (text, ""),
    };
    let number: u128 = number.replace(' ', "").parse().with_context(|| format!("{text} is no figure"))?;
    Ok(match unit {
        "" => Figure::Count(number),
        "KiB" => Figure::Count(number << 10),
        "MiB" => Figure::Count(number << 20),
        "ms" => Figure::Millis(number),
        "s" => Figure::Millis(number * 1000),
        other => bail!("{other} is no unit of a bound"),
    })
}

/// A constant as a file of the program has it.
fn built(file: &Path, name: &str) -> Result<Figure> {
    let source = fs::read_to_string(file).with_context(|| format!("there is no {}", file.display()))?;
    let start = format!("const {name}: ");
    let line = source.lines().find_map(|line| line.split_once(&start)).map(|(_, rest)| rest);
    let line = line.with_context(|| format!("{} has no constant {name}", file.display()))?;
    let value =
        line.split_once(" = ").and_then(|(_, value)| value.strip_suffix(';')).context("no value on its line")?;
    let inside = |prefix: &str| value.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(')'));
    if let Some(seconds) = inside("Duration::from_secs(") {
        return Ok(Figure::Millis(number(seconds)? * 1000));
    }
    if let Some(millis) = inside("Duration::from_millis(") {
        return Ok(Figure::Millis(number(millis)?));
    }
    match value.split_once(" << ") {
        Some((number_, shift)) => Ok(Figure::Count(number(number_)? << number(shift)?)),
        None => Ok(Figure::Count(number(value)?)),
    }
}

fn number(text: &str) -> Result<u128> {
    text.replace('_', "").parse().with_context(|| format!("{text} is no number"))
}

/// The limit in the schema of a kind.
fn declared(kind: &str, path: &str) -> Result<Figure> {
    let crd = match kind {
        "autoscalers" => Autoscaler::crd(),
        "configpolicies" => ConfigPolicy::crd(),
        other => bail!("there is no kind {other} with bounds"),
    };
    let crd = serde_json::to_value(crd)?;
    let mut at = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for step in path.split('.') {
        at = if step == "[]" { &at["items"] } else { &at["properties"][step] };
    }
    let limit = ["maxItems", "maxLength", "maxProperties"].iter().find_map(|limit| at[limit].as_u64());
    Ok(Figure::Count(limit.with_context(|| format!("{path} of {kind} has no limit"))?.into()))
}

fn page() -> Result<String> {
    Ok(fs::read_to_string(super::root().join("docs/reference/security.md"))?)
}

#[test]
fn each_bound_is_the_one_that_the_program_is_built_with() -> Result<()> {
    let rows = rows(&page()?)?;
    ensure!(rows.len() > 40, "only {} bounds were found", rows.len());
    for Bound { of, most, place: (file, name), beyond, .. } in &rows {
        ensure!(!beyond.is_empty(), "what happens beyond the bound of {of} is not said");
        let path = super::root().join(file);
        if most == "one segment each" {
            ensure!(fs::read_to_string(path)?.contains(&format!("fn {name}(")), "{file} has no {name}");
            continue;
        }
        let found = if file.ends_with(".rs") { built(&path, name)? } else { declared(file, name)? };
        ensure!(written(most)? == found, "{of}: the page says {most}, and {file}: {name} is {found:?}");
    }
    Ok(())
}

#[test]
fn each_bound_is_tried_by_a_test_that_exists() -> Result<()> {
    let mut names = BTreeSet::new();
    for folder in ["crates", "controllers", "crds", "tests"] {
        functions(&super::root().join(folder), &mut names)?;
    }
    for Bound { of, tests, .. } in rows(&page()?)? {
        ensure!(!tests.is_empty(), "no test tries the bound of {of}");
        let missing: Vec<&String> = tests.iter().filter(|test| !names.contains(*test)).collect();
        ensure!(missing.is_empty(), "there is no test {missing:?}, which is to try the bound of {of}");
    }
    Ok(())
}

/// The names of the tests below a folder.
fn functions(folder: &Path, names: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            functions(&path, names)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path)?;
            let mut is_test = false;
            for line in source.lines().map(str::trim) {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                let name = line.split_once("fn ").and_then(|(_, rest)| rest.split_once('(')).map(|(name, _)| name);
                if let Some(name) = name.filter(|_| is_test) {
                    names.insert(name.to_owned());
                    is_test = false;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn no_bound_of_a_file_that_has_some_is_missing() -> Result<()> {
    let rows = rows(&page()?)?;
    let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Bound { place: (file, name), .. } in rows.iter().filter(|row| row.place.0.ends_with(".rs")) {
        named.entry(file).or_default().insert(name);
    }
    for (file, named) in named {
        let source = fs::read_to_string(super::root().join(file))?;
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let [said, line] = pair else { continue };
            let is_bound =
                ["/// The most ", "/// The longest ", "/// How large "].iter().any(|start| said.starts_with(start));
            let name = line.split_once("const ").and_then(|(_, rest)| rest.split_once(": ")).map(|(name, _)| name);
            if let Some(name) = name.filter(|_| is_bound) {
                ensure!(named.contains(name), "{file}: {name} is a bound, and the table in security.md lacks it");
            }
        }
    }
    Ok(())
}

#[test]
fn every_bound_of_a_schema_is_in_the_crd() -> Result<()> {
    let schema = |row: &&Bound| !row.place.0.ends_with(".rs");
    let rows = rows(&page()?)?;
    for row in rows.iter().filter(schema) {
        ensure!(matches!(declared(&row.place.0, &row.place.1)?, Figure::Count(1..)), "{}", row.of);
    }
    // What a policy may have is kept by both.
    ensure!(
        declared("configpolicies", "spec.rules")?
            == built(&super::root().join("crates/validate/src/compile.rs"), "RULES")?
    );
    Ok(())
}

#[test]
fn a_figure_that_is_not_the_program_s_is_seen() -> Result<()> {
    let line = "| a thing | 3 KiB | `crates/validate/src/compile.rs: RULES` | it is refused | `a_test` |";
    let row = row(line)?;
    ensure!(written(&row.most)? == Figure::Count(3072));
    ensure!(written("1 000 000")? == Figure::Count(1_000_000));
    ensure!(written("2 s")? == Figure::Millis(2000));
    ensure!(built(&super::root().join(&row.place.0), &row.place.1)? == Figure::Count(50));
    ensure!(written("many").is_err() && written("5 stones").is_err());
    Ok(())
}
