//! Quantities as Kubernetes writes them, `250m` or `1Gi`, and their thousandths, in which autoscalers count. Not arithmetic
//! on quantities: whoever computes with them computes with thousandths.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A quantity as it is written in an object: a text, or a number. It is read when it is needed, so that an object with a
/// quantity that no rule caught can still be seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("x-kubernetes-int-or-string" = true, "maxLength" = 32))]
pub struct Quantity(#[schemars(schema_with = "any")] pub String);

fn any(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"x-kubernetes-int-or-string": true, "maxLength": 32})
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber).map(Self)
    }
}

struct TextOrNumber;

impl de::Visitor<'_> for TextOrNumber {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity, for example 250m or 1Gi")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

impl Quantity {
    /// Its thousandths, rounded away from zero as Kubernetes does. `None` if it is not a quantity, or has more thousandths
    /// than fit.
    pub fn milli(&self) -> Option<Milli> {
        let number = Number::parse(&self.0)?;
        // Kubernetes keeps long numbers another way, which rounds them towards positive infinity.
        let up = number.digits > 0 || !number.long;
        number.scaled(3, up).and_then(|milli| i64::try_from(milli).ok()).map(Milli)
    }

    /// Its value as a float, computed from its canonical form as Kubernetes does: the last bit counts at the edge of a
    /// tolerance.
    pub fn float(&self) -> Option<f64> {
        let number = Number::parse(&self.0)?;
        let (mut digits, mut exponent) = (number.digits, number.exponent);
        // Canonical is the largest power of a thousand that leaves no fraction.
        while digits != 0 && digits % 10 == 0 {
            (digits, exponent) = (digits / 10, exponent + 1);
        }
        while digits != 0 && exponent.rem_euclid(3) != 0 {
            (digits, exponent) = (digits.checked_mul(10)?, exponent - 1);
        }
        if (number.binary || number.exponential) && exponent > 0 {
            (digits, exponent) = (digits.checked_mul(10i128.checked_pow(exponent.unsigned_abs())?)?, 0);
        }
        let power: f64 = format!("1e{exponent}").parse().ok()?;
        Some(if exponent == 0 { digits as f64 } else { digits as f64 * power })
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// A parsed quantity: `digits · 10^exponent`, with no more than nine decimal places.
struct Number {
    digits: i128,
    exponent: i32,
    binary: bool,
    exponential: bool,
    long: bool,
}

impl Number {
    fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return None;
        }
        let (base, power, exponential) = suffix_power(suffix)?;
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction);
        let mut digits = whole
            .bytes()
            .chain(fraction.bytes())
            .try_fold(0i128, |sum, digit| sum.checked_mul(10)?.checked_add(i128::from(digit - b'0')))?;
        let mut exponent = -i32::try_from(fraction.len()).ok()?;
        let room = if base == 2 { 14 - (power as f32 * 3.0 / 10.0) as i32 } else { 18 };
        let length = i32::try_from(whole.len().max(1) + fraction.len()).ok()?;
        match base {
            2 => digits = digits.checked_mul(1i128.checked_shl(u32::try_from(power).ok()?)?)?,
            _ => exponent = exponent.checked_add(power)?,
        }
        let long = length > room || exponent < -9 || (base == 2 && !fraction.is_empty());
        if exponent < -9 {
            // Nothing is smaller than a billionth, and nothing that was asked for is rounded to nothing.
            digits = ceil_div(digits, 10i128.checked_pow((-9 - exponent).unsigned_abs()).unwrap_or(i128::MAX));
            exponent = -9;
        }
        let digits = if negative { -digits } else { digits };
        Some(Self { digits, exponent, binary: base == 2, exponential, long })
    }

    /// `digits · 10^(exponent + places)`, rounded away from zero, or else towards positive infinity.
    fn scaled(&self, places: i32, away: bool) -> Option<i128> {
        let shift = self.exponent.checked_add(places)?;
        let power = 10i128.checked_pow(shift.unsigned_abs());
        if shift >= 0 {
            return if self.digits == 0 { Some(0) } else { self.digits.checked_mul(power?) };
        }
        let power = power.unwrap_or(i128::MAX);
        Some(match (self.digits < 0, away) {
            (false, _) => ceil_div(self.digits, power),
            (true, true) => -ceil_div(-self.digits, power),
            (true, false) => self.digits / power,
        })
    }
}

fn ceil_div(value: i128, by: i128) -> i128 {
    value / by + i128::from(value % by > 0)
}

/// The base, the exponent, and whether it is written as an exponent.
fn suffix_power(suffix: &str) -> Option<(i32, i32, bool)> {
    let plain = match suffix {
        "n" => (10, -9),
        "u" => (10, -6),
        "m" => (10, -3),
        "" => (10, 0),
        "k" => (10, 3),
        "M" => (10, 6),
        "G" => (10, 9),
        "T" => (10, 12),
        "P" => (10, 15),
        "E" => (10, 18),
        "Ki" => (2, 10),
        "Mi" => (2, 20),
        "Gi" => (2, 30),
        "Ti" => (2, 40),
        "Pi" => (2, 50),
        "Ei" => (2, 60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            return Some((10, exponent.parse().ok()?, true));
        }
    };
    Some((plain.0, plain.1, false))
}

/// Thousandths: what autoscalers count in. Written as a quantity, `250m` or `3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, JsonSchema)]
#[schemars(with = "String")]
pub struct Milli(pub i64);

impl Milli {
    /// The nearest thousandth of a float. `None` if it is none that can be counted: NaN, infinite, or too large.
    pub fn of(value: f64) -> Option<Self> {
        let milli = (value * 1000.0).round();
        // The float of i64::MAX is one more than i64::MAX.
        (milli.is_finite() && milli.abs() < i64::MAX as f64).then_some(Self(milli as i64))
    }
}

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 % 1000 == 0 { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

impl Serialize for Milli {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Milli {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let quantity = Quantity::deserialize(deserializer)?;
        quantity
            .milli()
            .ok_or_else(|| de::Error::custom(format!("{:?} is no quantity: write it as 250m or 3", quantity.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_written_as_they_are_read() {
        for (text, milli) in [("250m", 250), ("3", 3000), ("-1500m", -1500), ("0", 0)] {
            assert_eq!(Quantity::from(text).milli(), Some(Milli(milli)), "{text}");
            assert_eq!(Milli(milli).to_string(), text);
        }
    }

    #[test]
    fn floats_that_are_no_numbers_are_no_thousandths() {
        assert_eq!(Milli::of(0.1 * 3.0), Some(Milli(300)));
        for none in [f64::NAN, f64::INFINITY, 1e300, -1e300, i64::MAX as f64 / 1000.0] {
            assert_eq!(Milli::of(none), None, "{none}");
        }
    }

    #[test]
    fn numbers_are_quantities_too() {
        let list: Vec<Quantity> = serde_json::from_str(r#"[5, "5", 0.25, -3]"#).unwrap();
        assert_eq!(list.iter().filter_map(Quantity::milli).map(|m| m.0).collect::<Vec<_>>(), [5000, 5000, 250, -3000]);
    }
}
