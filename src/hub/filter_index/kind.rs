//! The kinds of anchors.

use serde_json::Value;

/// How a value is found in a field. Arrays and objects have kinds of their own, so that large ones are looked up only where a
/// filter wants one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// It is the field's value. Null also stands for a missing field.
    Value,
    /// The same for an array or object.
    Composite,
    /// It is an element of the list in the field.
    Element,
    /// The same for an array or object.
    CompositeElement,
    /// It is a text in the string of the field.
    Text,
}

/// The side of a bound on which the wanted values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Those that are not less.
    Least,
    /// Those that are not more.
    Most,
}

impl Kind {
    pub(super) const COUNT: usize = 5;

    pub(super) fn of_value(value: &Value) -> Self {
        if is_composite(value) { Self::Composite } else { Self::Value }
    }

    pub(super) fn of_element(value: &Value) -> Self {
        if is_composite(value) { Self::CompositeElement } else { Self::Element }
    }
}

fn is_composite(value: &Value) -> bool {
    matches!(value, Value::Array(_) | Value::Object(_))
}
