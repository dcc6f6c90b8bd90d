//! JSON from strangers as a [`Value`], with every member as it is.
//!
//! serde_json's own way to a `Value` takes an object whose first key is a certain name for a text to parse, as long as the feature
//! `raw_value` is on anywhere in the program. A document may have a field of that name. Its text would be parsed in place of the
//! object, to any depth, since each text begins with a fresh limit.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value, map::Entry};

use super::json_mistake::twice;

/// Parses JSON. An object that has a member twice is refused, because one of the two would be lost.
///
/// # Errors
/// That of the parser, also for over 127 levels; [`explain`](super::json_mistake::explain) has the words for it.
pub fn parse(json: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(json).map(|Unique(value)| value)
}

/// Parses JSON that something else has written. Of a doubled member the last counts.
///
/// # Errors
/// That of the parser, also for over 127 levels.
pub fn parse_lenient(json: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(json).map(|Read::<false>(value)| value)
}

/// Reads a member that may be missing or null: `#[serde(default, deserialize_with = "json::member")]`. Of a doubled member in it
/// the last counts.
///
/// # Errors
/// That of the parser.
pub fn member<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Value>, D::Error> {
    Ok(Option::<Read<false>>::deserialize(json)?.map(|Read(value)| value))
}

/// A value that is read member by member, none of which is there twice.
pub struct Unique(pub Value);

/// A value that is read member by member. `UNIQUE` refuses one that is there twice.
struct Read<const UNIQUE: bool>(Value);

struct JsonVisitor<const UNIQUE: bool>;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        Read::<true>::deserialize(json).map(|Read(value)| Self(value))
    }
}

impl<'de, const UNIQUE: bool> Deserialize<'de> for Read<UNIQUE> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(JsonVisitor::<UNIQUE>).map(Read)
    }
}

impl<'de, const UNIQUE: bool> Visitor<'de> for JsonVisitor<UNIQUE> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Read::<UNIQUE>(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Read(value))) = members.next_entry::<String, Read<UNIQUE>>()? {
            match object.entry(key) {
                Entry::Occupied(known) if UNIQUE => return Err(A::Error::custom(twice(known.key()))),
                Entry::Occupied(mut known) => {
                    known.insert(value);
                }
                Entry::Vacant(free) => {
                    free.insert(value);
                }
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_read_as_serde_json_does() {
        for json in [
            r#"{"a":[null,true,-1,18446744073709551615,0.5,"é\n",{"b":{}}],"a2":[],"":1}"#,
            r#"{"a":1,"a":2}"#,
            "[[]]",
            "7",
        ] {
            assert_eq!(parse_lenient(json.as_bytes()).unwrap(), serde_json::from_str::<Value>(json).unwrap());
        }
        for doubled in [r#"{"a":1,"a":2}"#, r#"{"b":[{"a":1,"c":3,"a":1}]}"#] {
            let message = parse(doubled.as_bytes()).unwrap_err().to_string();
            assert!(message.starts_with("the member `a` is there twice"), "{message}");
        }
        for broken in ["", "{", "[1,]", r#"{"a":1e400}"#, r#""\ud800""#, "1 2"] {
            assert!(parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn no_name_of_a_member_means_anything() {
        let token = "$serde_json::private::RawValue";
        for inner in ["5", r#""7""#, r#""{\"b\":2}""#, r#""[1,""#] {
            let json = format!(r#"{{"{token}":{inner}}}"#);
            let Value::Object(object) = parse(json.as_bytes()).unwrap() else { panic!("{json}") };
            assert_eq!(object.keys().collect::<Vec<_>>(), [token]);
            assert_eq!(Value::Object(object).to_string(), json);
        }
        // Texts inside texts stay texts.
        let mut bomb = "1".to_owned();
        for _ in 0..12 {
            let opened = format!("{}{bomb}{}", "[".repeat(100), "]".repeat(100));
            bomb = format!(r#"{{"{token}":{}}}"#, Value::from(opened));
        }
        assert_eq!(parse(bomb.as_bytes()).unwrap().as_object().unwrap().len(), 1);
    }
}
