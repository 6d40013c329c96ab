//! How much it costs to tell what schedules say: each day of an expression that is looked at counts, and each window at each
//! change. Nothing ends by itself here: whoever looks on and on asks whether there is anything left.

use std::cell::Cell;

/// How many looks there are for all windows of an object together: at days of their expressions, and at windows where one of
/// them opens or closes. What is further away is not known.
pub const LOOKS: u64 = 50_000;

/// Counts looks.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    looks: Cell<u64>,
    /// From how many on no more is to be looked for, for now.
    stop: Cell<u64>,
    /// The same in the end.
    most: u64,
}

impl Meter {
    /// As many looks as one reading may take.
    pub fn bounded() -> Self {
        Self::new(LOOKS)
    }

    fn new(most: u64) -> Self {
        Self { looks: Cell::new(0), stop: Cell::new(most), most }
    }

    /// As many looks as are asked for: for whoever asks about a time that ends, or for one answer.
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Counts looks. What needs only a few is done however many are left.
    pub fn count(&self, looks: u64) {
        self.looks.set(self.looks.get().saturating_add(looks));
    }

    /// How many there were.
    pub fn looks(&self) -> u64 {
        self.looks.get()
    }

    /// Whether no more is to be looked for.
    pub fn is_spent(&self) -> bool {
        self.looks.get() >= self.stop.get()
    }

    /// So many times, or fewer where no more is to be looked for.
    pub fn looking(&self, times: usize) -> impl Iterator<Item = usize> {
        (0..times).take_while(|_| !self.is_spent())
    }

    /// Leaves one of so many the same share of what is left. What it does not use is for those behind it.
    pub fn share(&self, among: usize) {
        let among = u64::try_from(among).unwrap_or(u64::MAX).max(1);
        let left = self.most.saturating_sub(self.looks.get());
        self.stop.set(self.looks.get().saturating_add(left / among));
    }

    /// Leaves all that is left.
    pub fn share_all(&self) {
        self.stop.set(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_does_not_use_is_for_those_behind_it() {
        let meter = Meter::new(100);
        let used = |among, wanted: u64| {
            meter.share(among);
            let before = meter.looks();
            while meter.looks() < before + wanted && !meter.is_spent() {
                meter.count(1);
            }
            meter.looks() - before
        };
        assert_eq!([used(4, 100), used(3, 5), used(2, 100), used(1, 100)], [25, 5, 35, 35]);
        meter.share_all();
        assert!(meter.is_spent() && !Meter::unlimited().is_spent());
    }
}
