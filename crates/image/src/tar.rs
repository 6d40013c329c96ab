//! Tar archives that are the same whoever writes them and whenever: owned by root and dated 1970, in the order that they are
//! told. Not a reader.

use std::io::Write;

use anyhow::{Result, ensure};

/// Appends a file.
pub fn file(out: &mut impl Write, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    out.write_all(&header(path, mode, content.len(), b'0', "")?)?;
    out.write_all(content)?;
    out.write_all(&vec![0; content.len().next_multiple_of(512) - content.len()])?;
    Ok(())
}

/// Appends a symbolic link.
pub fn link(out: &mut impl Write, path: &str, to: &str) -> Result<()> {
    Ok(out.write_all(&header(path, 0o777, 0, b'2', to)?)?)
}

/// Appends a folder.
pub fn folder(out: &mut impl Write, path: &str) -> Result<()> {
    Ok(out.write_all(&header(&format!("{path}/"), 0o755, 0, b'5', "")?)?)
}

/// Ends the archive.
pub fn finish(out: &mut impl Write) -> Result<()> {
    out.write_all(&[0; 1024])?;
    out.flush()?;
    Ok(())
}

fn header(path: &str, mode: u32, length: usize, kind: u8, link: &str) -> Result<[u8; 512]> {
    for text in [path, link] {
        ensure!(text.len() < 100, "{text} is too long for a tar header");
    }
    let mut header = [0u8; 512];
    let mut put = |at: usize, field: &[u8]| header[at..at + field.len()].copy_from_slice(field);
    put(0, path.as_bytes());
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{length:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn tar_reads_files_folders_and_links() {
        let mut archive = vec![];
        folder(&mut archive, "bin").unwrap();
        file(&mut archive, "app", 0o755, b"x").unwrap();
        link(&mut archive, "bin/cat", "/app").unwrap();
        finish(&mut archive).unwrap();
        let mut tar = Command::new("tar").arg("-tvf-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        tar.stdin.take().unwrap().write_all(&archive).unwrap();
        let out = tar.wait_with_output().unwrap();
        let listed = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success(), "{listed}");
        for line in ["drwxr-xr-x", "-rwxr-xr-x", "bin/cat -> /app"] {
            assert!(listed.contains(line), "{listed}");
        }
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused() {
        assert!(file(&mut vec![], &"x".repeat(100), 0o644, b"").is_err());
    }
}
