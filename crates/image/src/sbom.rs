//! What an image consists of, as a CycloneDX document: every crate of the program and what was linked or put beside it. Not
//! what is known to be wrong with it: that is for those who read it.

use serde_json::{Value, json};

use crate::archive::{Attachment, architecture};
use crate::graph::{Graph, Package};
use crate::sha256;

/// Crates.io, as Cargo calls it.
pub const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// What the document is.
pub const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json";

/// Something in the image that is no crate of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is called where advisories are: `pkg:deb/debian/glibc@2.36`.
    pub purl: String,
    /// Its licence, as an SPDX expression.
    pub licence: String,
    /// What it is in the image.
    pub role: String,
    /// Whether it is data, and not a part of the program.
    pub data: bool,
}

/// The image that a document is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The reference without the tag: `trimtab.dev/trimtab-manager`.
    pub repository: String,
    /// The tag.
    pub version: String,
    /// The digest of its manifest: `sha256:…`.
    pub digest: String,
    /// When it was made, as RFC 3339.
    pub created: String,
    /// The program's own licence.
    pub licence: String,
}

/// The document.
///
/// # Errors
///
/// None that is expected: it is written in memory.
pub fn document(subject: &Subject, graph: &Graph, parts: &[Part]) -> Result<Attachment, serde_json::Error> {
    let name = subject.repository.rsplit('/').next().unwrap_or_default();
    let repository = escaped(&subject.repository);
    let purl = format!(
        "pkg:oci/{name}@{}?arch={}&repository_url={repository}&tag={}",
        escaped(&subject.digest),
        architecture(),
        subject.version
    );
    let components = graph.packages.iter().map(of_crate).chain(parts.iter().map(of_part));
    let mut beside: Vec<String> = parts.iter().map(|part| part.purl.clone()).collect();
    beside.push(reference(graph.root()));
    let mut dependencies = vec![json!({"ref": purl, "dependsOn": beside})];
    for package in &graph.packages {
        let uses: Vec<String> = package.dependencies.iter().map(|place| reference(&graph.packages[*place])).collect();
        dependencies.push(json!({"ref": reference(package), "dependsOn": uses}));
    }
    dependencies.extend(parts.iter().map(|part| json!({"ref": part.purl, "dependsOn": []})));
    let mut document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": subject.created,
            "tools": {"components": [{
                "type": "application",
                "name": env!("CARGO_PKG_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
            }]},
            "component": {
                "type": "container",
                "bom-ref": purl,
                "name": subject.repository,
                "version": subject.version,
                "purl": purl,
                "licenses": [{"expression": subject.licence}],
            },
        },
        "components": components.collect::<Vec<_>>(),
        "dependencies": dependencies,
    });
    let serial = serial(&sha256(&serde_json::to_vec(&document)?));
    document["serialNumber"] = json!(serial);
    let mut content = serde_json::to_vec_pretty(&document)?;
    content.push(b'\n');
    Ok(Attachment { media_type: MEDIA_TYPE.to_owned(), name: format!("{name}.cdx.json"), content })
}

fn of_crate(package: &Package) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(package),
        "name": package.name,
        "version": package.version,
        "scope": "required",
    });
    // A name alone would be taken for a crate of crates.io, which those of the workspace are not.
    if package.source.is_some() {
        component["purl"] = json!(reference(package));
    }
    if let Some(licence) = &package.licence {
        // As it was written before there were expressions.
        component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    }
    if let Some(checksum) = &package.checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(url) = &package.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": url}]);
    }
    component
}

fn of_part(part: &Part) -> Value {
    json!({
        "type": if part.data { "data" } else { "library" },
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
        "description": part.role,
        "scope": "required",
        "purl": part.purl,
        "licenses": [{"expression": part.licence}],
    })
}

/// How other components name this crate.
fn reference(package: &Package) -> String {
    let version = escaped(&package.version);
    match package.source.as_deref() {
        None => format!("{}@{version}", package.name),
        Some(CRATES_IO) => format!("pkg:cargo/{}@{version}", package.name),
        Some(source) => format!("pkg:cargo/{}@{version}?repository_url={}", package.name, escaped(source)),
    }
}

/// What stands in a package URL as itself, and the rest by numbers.
fn escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_~".contains(byte);
    let each = text.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") });
    each.collect()
}

/// A serial number that follows from the content, in the form of a UUID that was made from a name.
fn serial(hash: &str) -> String {
    let part = |from: usize, to: usize| hash.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-8{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn made() -> Value {
        let subject = Subject {
            repository: "trimtab.dev/trimtab-manager".to_owned(),
            version: "1.0.0".to_owned(),
            digest: "sha256:abcd".to_owned(),
            created: "2026-01-02T03:04:05Z".to_owned(),
            licence: "Apache-2.0".to_owned(),
        };
        let part = Part {
            name: "glibc".to_owned(),
            version: "2.36".to_owned(),
            purl: "pkg:generic/glibc@2.36".to_owned(),
            licence: "LGPL-2.1-or-later".to_owned(),
            role: "linked into the program".to_owned(),
            data: false,
        };
        let document = document(&subject, &crate::graph::tests::diamond(), &[part]).unwrap();
        assert_eq!((document.media_type.as_str(), document.name.as_str()), (MEDIA_TYPE, "trimtab-manager.cdx.json"));
        serde_json::from_slice(&document.content).unwrap()
    }

    fn texts<'v>(list: &'v Value, key: &str) -> Vec<&'v str> {
        list.as_array().unwrap().iter().filter_map(|entry| entry[key].as_str()).collect()
    }

    #[test]
    fn every_component_is_named_once_and_every_reference_leads_to_one() {
        let made = made();
        let refs = texts(&made["components"], "bom-ref");
        let mut known: BTreeSet<&str> = refs.iter().copied().collect();
        assert_eq!((refs.len(), known.len()), (5, 5));
        known.insert(made["metadata"]["component"]["bom-ref"].as_str().unwrap());
        assert_eq!(texts(&made["dependencies"], "ref").into_iter().collect::<BTreeSet<_>>(), known);
        for dependency in made["dependencies"].as_array().unwrap() {
            for used in dependency["dependsOn"].as_array().unwrap() {
                assert!(known.contains(used.as_str().unwrap()), "{used}");
            }
        }
    }

    #[test]
    fn components_are_called_what_scanners_call_them() {
        let made = made();
        let component = |name: &str| {
            let all = made["components"].as_array().unwrap();
            all.iter().find(|component| component["name"] == name).unwrap()
        };
        assert_eq!(component("base")["purl"], "pkg:cargo/base@3.0.0");
        assert_eq!(component("base")["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(component("base")["hashes"][0]["content"], "ab");
        assert_eq!(component("top")["purl"], Value::Null, "crates.io may have another of this name");
        assert_eq!(component("glibc")["purl"], "pkg:generic/glibc@2.36");
        let image = made["metadata"]["component"]["purl"].as_str().unwrap();
        assert!(image.starts_with("pkg:oci/trimtab-manager@sha256%3Aabcd?arch="), "{image}");
    }

    #[test]
    fn the_serial_number_is_a_uuid_that_follows_from_the_content() {
        let serial = made()["serialNumber"].as_str().unwrap().to_owned();
        let lengths: Vec<usize> = serial.trim_start_matches("urn:uuid:").split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{serial}");
        assert_eq!(made()["serialNumber"], serial);
    }
}
