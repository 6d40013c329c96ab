//! Programs that are asked something. Not what is asked.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What a program prints.
///
/// # Errors
///
/// If it cannot be run or fails; the text has what it said.
pub(crate) fn said(command: &mut Command) -> Result<String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let out = command.output().with_context(|| format!("{line} cannot be run"))?;
    ensure!(out.status.success(), "{line} failed: {}", String::from_utf8_lossy(&out.stderr).trim());
    Ok(String::from_utf8(out.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_run_and_what_it_said() {
        let failed = said(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err().to_string();
        assert!(failed.starts_with("sh -c") && failed.ends_with("failed: why"), "{failed}");
        assert_eq!(said(Command::new("echo").arg("a")).unwrap(), "a\n");
    }
}
