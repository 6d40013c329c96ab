//! One field of a cron expression: a list of values, ranges and steps, read into a set of bits. Not what the fields mean
//! together.

/// What a field may hold.
pub(crate) struct Field {
    /// As it is called in messages.
    pub name: &'static str,
    first: u8,
    last: u8,
    /// The names of its values, in order from the first.
    names: &'static [&'static str],
}

/// The minute of an hour.
pub(crate) const MINUTE: Field = Field { name: "minute", first: 0, last: 59, names: &[] };
/// The hour of a day.
pub(crate) const HOUR: Field = Field { name: "hour", first: 0, last: 23, names: &[] };
/// The day of a month.
pub(crate) const DAY: Field = Field { name: "day of month", first: 1, last: 31, names: &[] };
/// The month of a year.
pub(crate) const MONTH: Field = Field {
    name: "month",
    first: 1,
    last: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
/// The day of a week; 0 and 7 are both Sunday.
pub(crate) const WEEKDAY: Field =
    Field { name: "day of week", first: 0, last: 7, names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"] };

/// The values of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Values {
    /// A bit for each value.
    pub bits: u64,
    /// Whether it is `*`, which admits all and restricts nothing.
    pub any: bool,
}

impl Field {
    /// Reads a field. What is wrong with it comes with what to write instead.
    pub fn read(&self, text: &str) -> Result<Values, String> {
        let mut values = Values { bits: 0, any: false };
        for item in text.split(',') {
            let (bits, any) = self.item(item).map_err(|why| format!("{} {text:?}: {why}", self.name))?;
            values.bits |= bits;
            values.any |= any;
        }
        Ok(values)
    }

    /// One item of the list.
    fn item(&self, item: &str) -> Result<(u64, bool), String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (item, None),
        };
        let (from, to) = match range {
            "" => return Err(format!("there is nothing where a value belongs: write * for every {}", self.name)),
            "*" => (self.first, self.last_of_all()),
            "?" if self.names.len() == 8 || self.last == DAY.last => (self.first, self.last),
            "?" => return Err("? stands for any day, and only in the fields of days: write *".to_owned()),
            _ => match range.split_once('-') {
                Some((from, to)) => self.range(from, to)?,
                // `5/15` is `5-59/15`, as in Kubernetes' CronJobs.
                None if step.is_some() => (self.value(range)?, self.last_of_all()),
                None => (self.value(range)?, self.value(range)?),
            },
        };
        let step = step.unwrap_or(1);
        let bits = (from..=to).step_by(usize::from(step)).fold(0, |bits, value| bits | 1 << value);
        Ok((bits, step == 1 && (range == "*" || range == "?")))
    }

    /// The last value that stands for itself: 7 is Sunday once more.
    fn last_of_all(&self) -> u8 {
        if self.last == WEEKDAY.last { 6 } else { self.last }
    }

    fn range(&self, from: &str, to: &str) -> Result<(u8, u8), String> {
        let (first, mut last) = (self.value(from)?, self.value(to)?);
        // A week that is named may end with its Sunday.
        if to.eq_ignore_ascii_case("SUN") && first > 0 {
            last = 7;
        }
        if first <= last {
            return Ok((first, last));
        }
        if self.last == WEEKDAY.last && last == 0 {
            return Err(format!("{from}-{to} runs backwards: write {from}-7, where 7 is Sunday"));
        }
        let (lowest, highest) = (self.word(self.first, from), self.word(self.last_of_all(), from));
        Err(format!("{from}-{to} runs backwards: write {from}-{highest},{lowest}-{to} to go past the end"))
    }

    fn value(&self, text: &str) -> Result<u8, String> {
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return u8::try_from(at).map(|at| at + self.first).map_err(|e| e.to_string());
        }
        if let Some(why) = self.foreign(text) {
            return Err(why);
        }
        let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u8>().ok()).flatten();
        number.filter(|number| (self.first..=self.last).contains(number)).ok_or_else(|| {
            let named = match self.names {
                [first, .., last] => format!(" or a name, {first} to {last}"),
                _ => String::new(),
            };
            format!("{text:?} is not a {}: write a number from {} to {}{named}", self.name, self.first, self.last)
        })
    }

    /// Signs that other programs know and cron does not.
    fn foreign(&self, text: &str) -> Option<String> {
        let upper = text.to_ascii_uppercase();
        let days = self.last == WEEKDAY.last || self.last == DAY.last;
        if upper.contains('#') {
            let why = "the n-th weekday of a month (#) cannot be said in five fields: name days of the month instead";
            return Some(why.to_owned());
        }
        if days && upper.ends_with('L') {
            return Some("the last day (L) cannot be said in five fields: write 28, which every month has".to_owned());
        }
        if days && upper.ends_with('W') {
            return Some(
                "the nearest weekday (W) cannot be said in five fields: write MON-FRI as day of week".to_owned(),
            );
        }
        (upper == "H" || upper.starts_with("H("))
            .then(|| "H, a value chosen by somebody else, is not cron's: write the number".to_owned())
    }

    fn step(&self, text: &str) -> Result<u8, String> {
        let most = self.last - self.first;
        let step = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
        match step {
            None => Err(format!("{text:?} is not a step: write a number from 1 to {most} behind the /")),
            Some(0) => Err("a step of 0 never goes on: write 1 or more behind the /".to_owned()),
            Some(step) if step > u64::from(most) => Err(format!(
                "a step of {step} reaches beyond the field and fires once: write {} for that, or a step up to {most}",
                self.first
            )),
            Some(step) => u8::try_from(step).map_err(|e| e.to_string()),
        }
    }

    /// A value as it is written beside another one: as a name beside a name.
    fn word(&self, value: u8, beside: &str) -> String {
        let named = beside.starts_with(|c: char| c.is_ascii_alphabetic());
        let name = self.names.get(usize::from(value - self.first)).filter(|_| named);
        name.map_or_else(|| value.to_string(), |name| (*name).to_owned())
    }
}
