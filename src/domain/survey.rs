//! A look over a JSON text that builds nothing: whether it is the text of a document's data in canonical form, and how many values
//! it has.

use std::{borrow::Cow, fmt};

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Returns how many values a document has, without the document itself. `None` if the text is not an object in canonical form, as
/// far as can be seen from the order of its keys and from its numbers. White space is not noticed.
pub(super) fn survey(text: &str) -> Option<usize> {
    let mut values = 0;
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(Survey { values: &mut values }).ok()?;
    json.end().ok()?;
    Some(values)
}

/// Counts the values inside a value. Stops at the first thing that is not canonical.
struct Survey<'a> {
    values: &'a mut usize,
}

/// A key, which is copied only if it has escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Visitor<'de> for Survey<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("canonical JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut last: Option<Key<'de>> = None;
        while let Some(key) = map.next_key::<Key<'de>>()? {
            if last.is_some_and(|last| last.0 >= key.0) {
                return Err(de::Error::custom("keys out of order"));
            }
            *self.values += 1;
            map.next_value_seed(Survey { values: self.values })?;
            last = Some(key);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Survey { values: self.values })?.is_some() {
            *self.values += 1;
        }
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<(), E> {
        i64::try_from(number).map(drop).map_err(|_| E::custom("a whole number beyond 64 bits"))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<(), E> {
        // A whole double beyond 64 bits is canonical, too; the parser finds that out.
        if number.fract() == 0.0 { Err(E::custom("a whole double")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Survey<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }

        json.deserialize_str(KeyVisitor)
    }
}
