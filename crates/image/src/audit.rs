//! The list of crates inside the program itself, as `cargo auditable` writes it: `cargo audit bin`, Trivy, Grype and Syft find
//! it in the binary, wherever it was copied to.

use std::io::Write;

use anyhow::Result;
use flate2::{Compression, write::ZlibEncoder};
use serde_json::{Value, json};

use crate::elf;
use crate::graph::{Graph, Package};
use crate::sbom::CRATES_IO;

/// Where the list is looked for.
const SECTION: &str = ".dep-v0";

/// The program with the list in it.
///
/// # Errors
///
/// If the program has the list already, or is none.
pub fn stamped(program: &[u8], graph: &Graph) -> Result<Vec<u8>> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(&serde_json::to_vec(&list(graph))?)?;
    elf::with_section(program, SECTION, &zlib.finish()?)
}

fn list(graph: &Graph) -> Value {
    let package = |(place, package): (usize, &Package)| {
        let source = match package.source.as_deref() {
            None => "local",
            Some(CRATES_IO) => "crates.io",
            Some(source) if source.starts_with("git") => "git",
            Some(_) => "registry",
        };
        let mut entry = json!({"name": package.name, "version": package.version, "source": source});
        if !package.dependencies.is_empty() {
            entry["dependencies"] = json!(package.dependencies);
        }
        if place == graph.root {
            entry["root"] = json!(true);
        }
        entry
    };
    // Format 1: macros and what they use are not told as parts of the program.
    json!({"packages": graph.packages.iter().enumerate().map(package).collect::<Vec<_>>(), "format": 1})
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_owners_of_the_format_read_the_list() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let stamped = stamped(&own, &crate::graph::tests::diamond()).unwrap();
        let packed = auditable_extract::raw_auditable_data(&stamped).unwrap();
        let mut text = String::new();
        flate2::read::ZlibDecoder::new(packed).read_to_string(&mut text).unwrap();
        let info: auditable_serde::VersionInfo = text.parse().unwrap();
        let root = info.packages.iter().find(|p| p.root).unwrap();
        assert_eq!((info.packages.len(), root.name.as_str(), root.dependencies.len()), (4, "top", 2));
        assert_eq!(info.packages[0].source, auditable_serde::Source::CratesIo);
        assert_eq!(root.source, auditable_serde::Source::Local);
    }
}
