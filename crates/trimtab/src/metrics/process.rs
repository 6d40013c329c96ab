//! What Linux says about this process: memory, processor time, start. Elsewhere the metrics stay at 0.

use std::fs;

/// Ticks per second in `/proc/*/stat`: `USER_HZ`, which is 100 in the ABI of every architecture that Rust's Linux
/// targets share.
const TICKS_PER_SECOND: f64 = 100.0;

/// One look at the process.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) resident_bytes: i64,
    pub(super) cpu_seconds: f64,
    pub(super) start_seconds: f64,
}

impl Process {
    pub(super) fn read() -> Self {
        let file = |path| fs::read_to_string(path).unwrap_or_default();
        Self::parse(&file("/proc/self/status"), &file("/proc/self/stat"), &file("/proc/stat"))
    }

    fn parse(status: &str, stat: &str, boot: &str) -> Self {
        // The second field of `stat` is the command in brackets and may hold spaces: count from the last bracket.
        let fields: Vec<f64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().map(|f| f.parse().unwrap_or_default()).collect())
            .unwrap_or_default();
        let ticks = |index: usize| fields.get(index).copied().unwrap_or_default() / TICKS_PER_SECOND;
        Self {
            resident_bytes: line_value(status, "VmRSS:").map_or(0, |kib| kib as i64 * 1024),
            cpu_seconds: ticks(11) + ticks(12),
            start_seconds: line_value(boot, "btime").map_or(0.0, |boot| boot + ticks(19)),
        }
    }
}

/// The first number of the line that starts with `name`.
fn line_value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_the_command_even_if_it_holds_spaces() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 4 0 1000 0";
        let seen = Process::parse("Name:\tx\nVmRSS:\t  12 kB\n", stat, "cpu 1\nbtime 5000\n");
        assert_eq!(seen, Process { resident_bytes: 12 * 1024, cpu_seconds: 3.0, start_seconds: 5010.0 });
    }

    #[test]
    fn nothing_readable_is_zero() {
        assert_eq!(Process::parse("", "", ""), Process::default());
    }
}
