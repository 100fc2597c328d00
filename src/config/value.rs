//! What the user typed for one option, in a file or in the environment, and the ways to understand it.

use std::{fmt, time::Duration};

use toml::de::DeValue;

/// A value as it was typed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Whole(i64),
    /// A TOML float.
    Number(f64),
    /// A TOML boolean.
    Switch(bool),
    /// A TOML array.
    List(Vec<Value>),
    /// Some other TOML type, by its name.
    Other(&'static str),
    /// From the environment, which has no types: a string without quotes, or a list separated by commas.
    Untyped(String),
}

impl Value {
    /// From a parsed TOML value.
    pub(super) fn from_toml(value: &DeValue<'_>) -> Self {
        let other = Self::Other(value.type_str());
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Boolean(switch) => Self::Switch(*switch),
            DeValue::Integer(whole) => i64::from_str_radix(whole.as_str(), whole.radix()).map_or(other, Self::Whole),
            DeValue::Float(number) => number.as_str().parse().map_or(other, Self::Number),
            DeValue::Array(items) => Self::List(items.iter().map(|item| Self::from_toml(item.get_ref())).collect()),
            DeValue::Datetime(_) | DeValue::Table(_) => other,
        }
    }

    /// From the TOML text of a value: for defaults.
    pub(super) fn from_toml_text(text: &str) -> Option<Self> {
        DeValue::parse(text).ok().map(|value| Self::from_toml(value.get_ref()))
    }

    /// A string that is not empty.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Untyped(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// A string that `read` understands.
    pub(super) fn parsed<T: std::str::FromStr>(&self) -> Option<T> {
        self.text()?.parse().ok()
    }

    /// `true` or `false`.
    pub(super) fn switch(&self) -> Option<bool> {
        match self {
            Self::Switch(switch) => Some(*switch),
            Self::Untyped(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A whole number.
    pub(super) fn whole(&self) -> Option<i64> {
        match self {
            Self::Whole(whole) => Some(*whole),
            Self::Untyped(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A whole number of `range`.
    pub(super) fn whole_in<T: TryFrom<i64>>(&self, range: std::ops::RangeInclusive<i64>) -> Option<T> {
        self.whole().filter(|whole| range.contains(whole)).and_then(|whole| T::try_from(whole).ok())
    }

    /// A finite number, with or without a fraction.
    pub(super) fn number(&self) -> Option<f64> {
        let number = match self {
            Self::Number(number) => Some(*number),
            Self::Whole(whole) => i32::try_from(*whole).ok().map(f64::from),
            Self::Untyped(text) => text.parse().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite())
    }

    /// A list, each item of which `read` understands.
    pub(super) fn list<T>(&self, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
        match self {
            Self::List(items) => items.iter().map(read).collect(),
            Self::Untyped(text) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(|item| read(&Self::Untyped(item.to_owned()))).collect()
            }
            _ => None,
        }
    }

    /// A duration of `range`, both in seconds, as a number and a unit: `500ms`, `30s`, `5m`, `12h`, `7d`.
    pub(super) fn duration_in(&self, range: std::ops::RangeInclusive<u64>) -> Option<Duration> {
        let (count, unit) = counted(self.text()?)?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let duration = Duration::from_millis(count.checked_mul(millis)?);
        let (least, most) = (Duration::from_secs(*range.start()), Duration::from_secs(*range.end()));
        (least..=most).contains(&duration).then_some(duration)
    }

    /// A number of bytes of `range`, as a number and a unit: `64 KiB`, `256 MiB`, `2 GiB`.
    pub(super) fn bytes_in(&self, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let (count, unit) = counted(self.text()?)?;
        let shift = match unit {
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return None,
        };
        count.checked_mul(1 << shift).filter(|bytes| range.contains(bytes))
    }
}

/// Splits `12 MiB` into 12 and `MiB`.
fn counted(text: &str) -> Option<(u64, &str)> {
    let (count, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit())?);
    Some((count.parse().ok()?, unit.trim_start()))
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Untyped(text) => write!(f, "{text:?}"),
            Self::Whole(whole) => write!(f, "{whole}"),
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Switch(switch) => write!(f, "{switch}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Other(kind) => write!(f, "({kind})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(text: &str) -> Value {
        Value::from_toml_text(text).unwrap()
    }

    fn typed(text: &str) -> Value {
        Value::Untyped(text.to_owned())
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("2 h", 7_200_000), ("1d", 86_400_000)]
        {
            let expected = Some(Duration::from_millis(millis));
            assert_eq!(typed(text).duration_in(0..=u64::MAX), expected, "{text}");
        }
        for text in ["30", "", "s", "-1s", "1.5h", "3 weeks", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(typed(text).duration_in(0..=u64::MAX), None, "{text}");
        }
        assert_eq!(toml("30").duration_in(0..=100), None, "a bare number has no unit");
        assert_eq!(typed("2m").duration_in(1..=60), None);
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(typed("64 KiB").bytes_in(0..=u64::MAX), Some(65_536));
        assert_eq!(typed("2GiB").bytes_in(0..=u64::MAX), Some(2 << 30));
        for text in ["64", "64 KB", "1 mib", "MiB", "99999999999 GiB"] {
            assert_eq!(typed(text).bytes_in(0..=u64::MAX), None, "{text}");
        }
    }

    #[test]
    fn the_environment_has_no_types() {
        assert_eq!(typed("8").whole(), Some(8));
        assert_eq!(typed("true").switch(), Some(true));
        assert_eq!(typed("yes").switch(), None);
        assert_eq!(typed("0.5").number(), Some(0.5));
        assert_eq!(typed("inf").number(), None);
        assert_eq!(typed("a, b,").list(|item| item.text().map(str::to_owned)), Some(vec!["a".into(), "b".into()]));
        assert_eq!(typed("").list(|item| item.text().map(str::to_owned)), Some(vec![]));
    }

    #[test]
    fn files_have_types() {
        assert_eq!(toml("\"8\"").whole(), None);
        assert_eq!(toml("0x10").whole(), Some(16));
        assert_eq!(toml("1").number(), Some(1.0));
        assert_eq!(toml("\"true\"").switch(), None);
        assert_eq!(toml("[\"a\", 1]").list(|item| item.text().map(str::to_owned)), None);
        assert_eq!(toml("[\"a\", 1]").to_string(), "[\"a\", 1]");
        assert_eq!(toml("{ a = 1 }").to_string(), "(table)");
    }
}
