//! When an autoscaler decides if nothing happens before: at equal steps of the clock, so that a process that starts anew
//! goes on at the same moments. Those that measure the same thing decide together, and it is measured once.

use jiff::Timestamp;

/// Equal steps of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    interval: i64,
    phase: i64,
}

impl Beat {
    /// Steps of so many milliseconds, at least a second; what is measured tells where they lie.
    pub fn new(interval_ms: i64, source: &str) -> Self {
        let interval = interval_ms.max(1000);
        Self { interval, phase: i64::from(digest(source) as u32) % interval }
    }

    /// The number of the step that a moment lies in.
    pub fn step(self, at: Timestamp) -> i64 {
        (at.as_millisecond() - self.phase).div_euclid(self.interval)
    }

    /// When a step begins.
    pub fn start(self, step: i64) -> Timestamp {
        let at = step.saturating_mul(self.interval).saturating_add(self.phase);
        Timestamp::from_millisecond(at).unwrap_or(Timestamp::MAX)
    }
}

/// FNV-1a: the same on every machine, and nothing that anybody has to trust.
pub fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_lies_in_the_step_that_began_last() {
        let beat = Beat::new(15_000, "cpu of shop/web");
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let step = beat.step(at);
        assert!(beat.start(step) <= at && at < beat.start(step + 1));
        assert_eq!(beat.step(beat.start(step)), step);
        assert_eq!(beat.start(step + 1).as_millisecond() - beat.start(step).as_millisecond(), 15_000);
        assert_eq!(Beat::new(0, "x"), Beat::new(1000, "x"));
    }
}
