//! What an ELF program needs of its system, and a section more for it. Not a linker: what runs is not touched.

use anyhow::{Context, Result, ensure};

const PT_INTERP: u64 = 3;
/// The header's length, and that of a section's.
const HEADER: usize = 64;

/// An error that says what is missing, unless the program starts without a loader and without libraries.
///
/// # Errors
///
/// If it is no ELF program for 64 bits, or needs an interpreter.
pub fn must_be_static(program: &[u8]) -> Result<()> {
    must_be_elf(program)?;
    let (at, size, count) = (number(program, 32, 8)?, number(program, 54, 2)?, number(program, 56, 2)?);
    for nth in 0..count {
        let kind = number(program, at + nth * size, 4)?;
        ensure!(kind as u64 != PT_INTERP, "the program needs a loader: build it with -C target-feature=+crt-static");
    }
    Ok(())
}

/// The program with one more section, which is never loaded: the table of sections moves to the end, the rest stays.
///
/// # Errors
///
/// If it is no ELF program for 64 bits with a table of sections, or has a section of this name.
pub fn with_section(program: &[u8], name: &str, content: &[u8]) -> Result<Vec<u8>> {
    must_be_elf(program)?;
    let (at, count) = (number(program, 40, 8)?, number(program, 60, 2)?);
    ensure!(number(program, 58, 2)? == HEADER && count > 0, "the program has no table of sections");
    let table = program.get(at..at + count * HEADER).context("the program's table of sections is cut off")?;
    let names = number(program, 62, 2)? * HEADER;
    let (names_at, names_length) = (number(table, names + 24, 8)?, number(table, names + 32, 8)?);
    let old = program.get(names_at..names_at + names_length).context("the names of the sections are cut off")?;
    ensure!(!old.split(|byte| *byte == 0).any(|old| old == name.as_bytes()), "the program has a section {name}");

    let mut out = program.to_vec();
    let content_at = append(&mut out, content);
    let new_names = [old, name.as_bytes(), b"\0"].concat();
    let new_names_at = append(&mut out, &new_names);
    let mut table = table.to_vec();
    put(&mut table, names + 24, new_names_at as u64);
    put(&mut table, names + 32, new_names.len() as u64);
    let mut section = [0u8; HEADER];
    section[..4].copy_from_slice(&(names_length as u32).to_le_bytes());
    // The kind: what only programs other than the loader understand.
    section[4..8].copy_from_slice(&1u32.to_le_bytes());
    put(&mut section, 24, content_at as u64);
    put(&mut section, 32, content.len() as u64);
    put(&mut section, 48, 1);
    table.extend_from_slice(&section);
    let table_at = append(&mut out, &table);
    put(&mut out, 40, table_at as u64);
    out[60..62].copy_from_slice(&u16::try_from(count + 1)?.to_le_bytes());
    Ok(out)
}

fn must_be_elf(program: &[u8]) -> Result<()> {
    let little_64 = program.len() > HEADER && program.starts_with(b"\x7fELF\x02\x01");
    ensure!(little_64, "the program is no ELF file for a machine of 64 bits");
    Ok(())
}

/// Where what was appended begins.
fn append(out: &mut Vec<u8>, content: &[u8]) -> usize {
    out.resize(out.len().next_multiple_of(8), 0);
    let at = out.len();
    out.extend_from_slice(content);
    at
}

fn number(bytes: &[u8], at: usize, length: usize) -> Result<usize> {
    let field = bytes.get(at..at.saturating_add(length)).context("the program is cut off")?;
    let value = field.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    // Far more than any file: sums of such numbers do not overflow.
    ensure!(value < 1 << 48, "the program's header makes no sense");
    Ok(usize::try_from(value)?)
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This very test: a program that is there wherever the test is.
    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_program_with_a_loader_is_not_static() {
        let error = must_be_static(&own()).unwrap_err().to_string();
        assert!(error.contains("loader"), "{error}");
    }

    #[test]
    fn no_input_is_read_past_its_end() {
        let own = own();
        for length in [0, 1, 63, 64, 65, 200, own.len() / 2] {
            assert!(with_section(&own[..length], ".x", b"x").is_err());
            // What is there of the headers may be whole; it must only not panic.
            _ = must_be_static(&own[..length]);
        }
        let mut wild = own;
        wild[32..48].fill(0xff);
        assert!(with_section(&wild, ".x", b"x").is_err() && must_be_static(&wild).is_err());
    }

    #[test]
    fn a_program_with_a_section_more_still_runs() {
        let out = with_section(&own(), ".dep-v0", b"what it consists of").unwrap();
        let path = std::env::temp_dir().join(format!("trimtab-elf-{}", std::process::id()));
        std::fs::write(&path, &out).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        let ran = std::process::Command::new(&path).arg("--list").output();
        std::fs::remove_file(&path).unwrap();
        assert!(ran.unwrap().status.success());
        assert!(with_section(&out, ".dep-v0", b"").is_err(), "twice the same name");
        let found = auditable_extract::raw_auditable_data(&out).unwrap();
        assert_eq!(found, b"what it consists of");
    }
}
