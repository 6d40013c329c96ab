//! The licences of everything in a program, as they ask to be passed on: one text, each licence once, with the crates that it is
//! the licence of. Whether they may be used is cargo-deny's to say.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use crate::graph::{Graph, Package};

/// How files of licences begin.
const FILES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT", "UNLICENSE"];

/// The text.
///
/// # Errors
///
/// If a crate's folder cannot be read.
pub fn of(graph: &Graph) -> Result<String> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut unnamed = vec![];
    for package in graph.packages.iter().filter(|package| package.source.is_some()) {
        let name = format!("{} {}", package.name, package.version);
        let texts = texts(package)?;
        if texts.is_empty() {
            unnamed.push(format!("{name}: {}", package.licence.as_deref().unwrap_or("no licence is named")));
        }
        for text in texts {
            users.entry(text).or_default().insert(name.clone());
        }
    }
    let mut parts: Vec<(BTreeSet<String>, String)> = users.into_iter().map(|(text, names)| (names, text)).collect();
    parts.sort();
    let mut all =
        String::from("The licences of the libraries in this program, each with the libraries that carry it.\n");
    for (names, text) in parts {
        let names: Vec<String> = names.into_iter().collect();
        all += &format!("\n{}\n{}\n\n{}\n", "=".repeat(80), names.join(", "), text.trim());
    }
    if !unnamed.is_empty() {
        let line = "=".repeat(80);
        all += &format!("\n{line}\nWithout a text of their own, by their manifests:\n\n{}\n", unnamed.join("\n"));
    }
    Ok(all)
}

/// The licences in a crate's folder; of a crate without any, none.
fn texts(package: &Package) -> Result<Vec<String>> {
    let told = || format!("cannot read {}", package.folder.display());
    let mut texts = vec![];
    for entry in std::fs::read_dir(&package.folder).with_context(told)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_ascii_uppercase();
        if FILES.iter().any(|file| name.starts_with(file)) && entry.file_type()?.is_file() {
            texts.push(String::from_utf8_lossy(&std::fs::read(entry.path())?).replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn each_licence_is_there_once_with_all_that_carry_it() {
        let mut graph = crate::graph::tests::diamond();
        let dir = std::env::temp_dir().join(format!("trimtab-licences-{}", std::process::id()));
        for package in &mut graph.packages {
            package.folder = dir.join(&package.name);
            std::fs::create_dir_all(&package.folder).unwrap();
        }
        let write = |path: &str, text: &str| std::fs::write(Path::new(&dir).join(path), text).unwrap();
        write("left/LICENSE-MIT", "Be kind.\n");
        write("right/license.txt", "Be kind.\r\n");
        write("right/README.md", "Nothing of use.");
        let all = of(&graph).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(all.matches("Be kind.").count(), 1, "{all}");
        assert!(all.contains("left 2.0.0, right 2.1.0") && all.contains("base 3.0.0: MIT/Apache-2.0"), "{all}");
        assert!(!all.contains("Nothing of use") && !all.contains("top"), "{all}");
    }
}
