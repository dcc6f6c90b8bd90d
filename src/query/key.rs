//! Sort keys, which order values of any type, and the exact comparison of numbers.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// The sort key of a field's value. The order is: null and missing, numbers, strings by code point, false, true, and then
/// arrays and objects, which are all equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Null or missing.
    Null,
    /// A number in canonical form. A time is its milliseconds.
    Number(Number),
    /// A string. A document's id is a string.
    Text(String),
    False,
    True,
    /// An array or an object.
    Composite,
}

impl Key {
    /// Returns the key of a value. `None` is a missing field.
    pub fn of(value: Option<&Value>) -> Self {
        match value {
            None | Some(Value::Null) => Self::Null,
            Some(Value::Number(number)) => Self::Number(number.clone()),
            Some(Value::String(text)) => Self::Text(text.clone()),
            Some(Value::Bool(false)) => Self::False,
            Some(Value::Bool(true)) => Self::True,
            Some(Value::Array(_) | Value::Object(_)) => Self::Composite,
        }
    }

    /// Returns the value that stands for the key in a page cursor: an empty array for [`Key::Composite`].
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.clone()),
            Self::False => Value::Bool(false),
            Self::True => Value::Bool(true),
            Self::Composite => Value::Array(Vec::new()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Number(_) => 1,
            Self::Text(_) => 2,
            Self::False => 3,
            Self::True => 4,
            Self::Composite => 5,
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(one), Self::Number(two)) => compare_numbers(one, two),
            (Self::Text(one), Self::Text(two)) => one.cmp(two),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares canonical numbers by their exact values: 2^53 + 1 is greater than the double 2^53.
pub fn compare_numbers(one: &Number, two: &Number) -> Ordering {
    match (one.as_i64(), two.as_i64()) {
        (Some(one), Some(two)) => one.cmp(&two),
        (Some(integer), None) => compare_with_double(integer, two),
        (None, Some(integer)) => compare_with_double(integer, one).reverse(),
        // The numbers of JSON are finite, so doubles have an order.
        (None, None) => {
            let [one, two] = [one, two].map(|number| number.as_f64().unwrap_or_default());
            one.partial_cmp(&two).unwrap_or(Ordering::Equal)
        }
    }
}

fn compare_with_double(integer: i64, double: &Number) -> Ordering {
    let double = double.as_f64().unwrap_or_default();
    // Outside of 64 bits a cast gives the nearest limit, so the limits are checked first.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if double >= LIMIT {
        return Ordering::Less;
    }
    if double < -LIMIT {
        return Ordering::Greater;
    }
    let whole = double.trunc();
    integer.cmp(&(whole as i64)).then_with(|| whole.partial_cmp(&double).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_every_type_have_one_order() {
        let ascending = [
            json!(null),
            json!(-1e300),
            json!(i64::MIN),
            json!(-1.5),
            json!(-1),
            json!(0),
            json!(5e-324),
            json!(0.5),
            json!(9_007_199_254_740_992_i64),
            json!(9_007_199_254_740_993_i64),
            json!(i64::MAX),
            json!(9.3e18),
            json!(""),
            json!("Z"),
            json!("a"),
            json!("é"),
            json!("\u{ffff}"),
            json!("😀"),
            json!(false),
            json!(true),
            json!([]),
        ];
        for (place, one) in ascending.iter().enumerate() {
            for (other_place, other) in ascending.iter().enumerate() {
                let order = Key::of(Some(one)).cmp(&Key::of(Some(other)));
                assert_eq!(order, place.cmp(&other_place), "{one} and {other}");
            }
        }
        assert_eq!(Key::of(None), Key::Null);
        assert_eq!(Key::of(Some(&json!({"a": 1}))), Key::of(Some(&json!([2]))));
    }
}
