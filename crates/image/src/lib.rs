//! Container images out of static binaries, as OCI archives, with no container engine: the same input gives the same bytes.
//! Not a registry client, and not a builder of anything that needs a shell to be built.

pub mod again;
pub mod archive;
pub mod audit;
mod command;
pub mod development;
pub mod elf;
pub mod graph;
pub mod licences;
pub mod manager;
pub mod recipe;
pub mod sbom;
pub mod sources;
pub mod tar;

use sha2::{Digest, Sha256};

/// The SHA-256 of a content, in hexadecimal.
pub fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
