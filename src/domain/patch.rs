//! Patches: members that replace those of a document, and operators on single fields.

use std::{
    collections::{HashMap, HashSet, hash_map},
    sync::Arc,
};

use serde_json::{Map, Number, Value};

use super::{
    Data, DataError, FieldPath, Segment,
    data::{MAX_DEPTH, kind_of},
};

/// A change of a document: members that replace its own, and operators that depend on the old values.
///
/// The order of the request does not matter. Members come first, then `$inc`, `$append`, `$remove` and `$unset`, and the
/// fields of one operator by name. Fields are paths, as in filters.
///
/// `null` counts as missing. There `$inc` begins at 0 and `$append` makes the list, and both make the objects on the way.
/// `$remove` and `$unset` do nothing.
#[derive(Clone, Debug)]
pub struct Patch {
    members: Data,
    operators: Arc<[FieldOperator]>,
    bytes: usize,
}

#[derive(Debug)]
struct FieldOperator {
    /// The field as the caller wrote it, for messages.
    field: String,
    path: FieldPath,
    operator: Operator,
}

#[derive(Debug)]
enum Operator {
    Increment(Number),
    Append(Vec<Value>),
    /// A set, so that the work is linear in the list and in the values together.
    Remove(HashSet<Value>),
    Unset,
}

/// Why an object is not a valid patch. The message is for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatchError(String);

/// Why a patch can't be applied to a document.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// An operator does not fit the old value. The message is for the caller.
    #[error("{0}")]
    Mismatch(String),
    /// The result would not be a valid document.
    #[error(transparent)]
    Data(#[from] DataError),
}

impl Patch {
    /// Reads an object whose members that begin with `$` are operators.
    ///
    /// # Errors
    /// [`PatchError`] for an unknown operator, or one with a value of the wrong type.
    pub fn from_data(data: Data) -> Result<Self, PatchError> {
        let bytes = data.text().len();
        if !data.fields().keys().any(|key| key.starts_with('$')) {
            return Ok(Self { members: data, operators: Arc::from([]), bytes });
        }
        let (mut members, mut operators) = (Map::new(), Vec::new());
        for (key, value) in data.fields() {
            match key.as_str() {
                "$inc" => read_fields(key, value, "numbers", &mut operators, |value| match value {
                    Value::Number(amount) => Some(Operator::Increment(amount.clone())),
                    _ => None,
                })?,
                "$append" => read_fields(key, value, "values or lists", &mut operators, |value| {
                    Some(Operator::Append(to_list(value)))
                })?,
                "$remove" => read_fields(key, value, "values or lists", &mut operators, |value| {
                    Some(Operator::Remove(to_list(value).into_iter().collect()))
                })?,
                "$unset" => read_unset(value, &mut operators)?,
                other if other.starts_with('$') => {
                    return Err(PatchError(format!(
                        "unknown operator `{other}`; use `$inc`, `$append`, `$remove` or `$unset`; a field is set by its name \
                         alone, as in {{\"title\":\"Hello\"}}"
                    )));
                }
                _ => {
                    members.insert(key.clone(), value.clone());
                }
            }
        }
        operators.sort_by_key(|operator| operator.operator.turn());
        let operators = join_removals(operators);
        let members = Data::from_value(Value::Object(members)).map_err(|err| PatchError(err.to_string()))?;
        Ok(Self { members, operators: operators.into(), bytes })
    }

    /// Returns the data after this patch.
    ///
    /// # Errors
    /// [`ApplyError`]. Then the document must stay as it is.
    pub fn apply(&self, before: &Data) -> Result<Data, ApplyError> {
        if self.operators.is_empty() {
            return Ok(before.merge(&self.members)?);
        }
        let mut fields = before.fields().clone();
        fields.extend(self.members.fields().iter().map(|(key, value)| (key.clone(), value.clone())));
        let mut root = Value::Object(fields);
        for operator in self.operators.iter() {
            operator.apply(&mut root)?;
        }
        Ok(Data::from_value(root)?)
    }

    /// Returns the members that replace those of a document.
    pub fn members(&self) -> &Map<String, Value> {
        self.members.fields()
    }

    /// Returns the top-level fields that this may change, some of them several times.
    pub fn top_level_fields(&self) -> impl Iterator<Item = &str> {
        let members = self.members.fields().keys().map(String::as_str);
        members.chain(self.operators.iter().map(|operator| match operator.path.segments() {
            [Segment::Key(key), ..] => key.as_str(),
            // A path begins with a name.
            _ => "",
        }))
    }

    /// Returns the length of the request's canonical text.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Estimates the bytes of memory that this takes.
    pub fn weight(&self) -> usize {
        // The operators were part of the same text.
        self.members.weight() + self.bytes
    }
}

/// Joins the removals from one list, so that each list is walked once. A path has any number of spellings, such as `l.0` and
/// `l.00`. The joined removal stands where the first of them stood.
fn join_removals(operators: Vec<FieldOperator>) -> Vec<FieldOperator> {
    let mut joined: Vec<FieldOperator> = Vec::with_capacity(operators.len());
    let mut places = HashMap::new();
    for mut operator in operators {
        if let Operator::Remove(values) = &mut operator.operator {
            match places.entry(operator.path.clone()) {
                hash_map::Entry::Vacant(free) => {
                    free.insert(joined.len());
                }
                hash_map::Entry::Occupied(place) => {
                    if let Operator::Remove(all) = &mut joined[*place.get()].operator {
                        all.extend(values.drain());
                    }
                    continue;
                }
            }
        }
        joined.push(operator);
    }
    joined
}

fn to_list(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.clone(),
        single => vec![single.clone()],
    }
}

fn read_fields(
    name: &str,
    value: &Value,
    expected: &str,
    operators: &mut Vec<FieldOperator>,
    read: impl Fn(&Value) -> Option<Operator>,
) -> Result<(), PatchError> {
    let Value::Object(fields) = value else {
        return Err(PatchError(format!(
            "`{name}` takes an object of fields and {expected}, not {}",
            kind_of(value)
        )));
    };
    for (field, value) in fields {
        let path = parse_path(name, field)?;
        let operator = read(value).ok_or_else(|| {
            PatchError(format!("`{name}` takes {expected}, but `{field}` has {}", kind_of(value)))
        })?;
        operators.push(FieldOperator { field: field.clone(), path, operator });
    }
    Ok(())
}

fn read_unset(value: &Value, operators: &mut Vec<FieldOperator>) -> Result<(), PatchError> {
    for field in to_list(value) {
        let Value::String(field) = field else {
            return Err(PatchError("`$unset` takes a list of field names, such as [\"a\",\"b\"]".to_owned()));
        };
        let path = parse_path("$unset", &field)?;
        if let Some(Segment::Index(_)) = path.segments().last() {
            return Err(PatchError(format!(
                "`$unset` takes fields of objects, but `{field}` is a position in a list; use `$remove` to take values out of a \
                 list, or write `\\` before the digit of a field's name"
            )));
        }
        operators.push(FieldOperator { field, path, operator: Operator::Unset });
    }
    Ok(())
}

fn parse_path(name: &str, field: &str) -> Result<FieldPath, PatchError> {
    FieldPath::parse(field)
        .map_err(|err| PatchError(format!("`{name}`: `{field}` is not a valid field: {err}")))
}

impl Operator {
    fn turn(&self) -> u8 {
        match self {
            Self::Increment(_) => 0,
            Self::Append(_) => 1,
            Self::Remove(_) => 2,
            Self::Unset => 3,
        }
    }
}

impl FieldOperator {
    fn apply(&self, root: &mut Value) -> Result<(), ApplyError> {
        let path = self.path.segments();
        match &self.operator {
            Operator::Increment(amount) => {
                let at = self.make(root)?;
                *at = match &*at {
                    Value::Null => Value::Number(amount.clone()),
                    Value::Number(number) => Value::Number(add(number, amount).ok_or_else(|| {
                        self.mismatch("$inc", "would be outside the range of 64-bit integers and doubles")
                    })?),
                    other => {
                        let why = format!("is {}, not a number", kind_of(other));
                        return Err(self.mismatch("$inc", &why));
                    }
                };
            }
            Operator::Append(values) => match self.make(root)? {
                Value::Array(items) => items.extend(values.iter().cloned()),
                at if at.is_null() => *at = Value::Array(values.clone()),
                other => {
                    let why = format!("is {}, not a list", kind_of(other));
                    return Err(self.mismatch("$append", &why));
                }
            },
            Operator::Remove(values) => match find(root, path) {
                None | Some(Value::Null) => {}
                Some(Value::Array(items)) => items.retain(|item| !values.contains(item)),
                Some(other) => {
                    let why = format!("is {}, not a list", kind_of(other));
                    return Err(self.mismatch("$remove", &why));
                }
            },
            Operator::Unset => {
                if let Some((Segment::Key(key), parent)) = path.split_last()
                    && let Some(Value::Object(fields)) = find(root, parent)
                {
                    fields.remove(key);
                }
            }
        }
        Ok(())
    }

    /// Finds the value of the field. Makes it, and the objects on the way, if it is missing; then it is `null`.
    fn make<'a>(&self, root: &'a mut Value) -> Result<&'a mut Value, ApplyError> {
        let name = match self.operator {
            Operator::Increment(_) => "$inc",
            _ => "$append",
        };
        let mut at = root;
        for segment in self.path.segments() {
            if at.is_null() && matches!(segment, Segment::Key(_)) {
                *at = Value::Object(Map::new());
            }
            at = match (segment, at) {
                (Segment::Key(key), Value::Object(fields)) => {
                    fields.entry(key.clone()).or_insert(Value::Null)
                }
                (Segment::Index(index), Value::Array(items)) => {
                    let count = items.len();
                    items.get_mut(*index as usize).ok_or_else(|| {
                        self.mismatch(name, &format!("is past the end of a list of {count}"))
                    })?
                }
                (Segment::Key(key), other) => {
                    let why = format!("can't be set, because `{key}` would be inside {}", kind_of(other));
                    return Err(self.mismatch(name, &why));
                }
                (Segment::Index(index), other) => {
                    let why = format!(
                        "can't be set, because {index} is a position in a list, but the value there is {}; write `\\` before the \
                         digit of a field's name",
                        kind_of(other)
                    );
                    return Err(self.mismatch(name, &why));
                }
            };
        }
        Ok(at)
    }

    fn mismatch(&self, name: &str, why: &str) -> ApplyError {
        ApplyError::Mismatch(format!("`{name}`: the field `{}` {why}", self.field))
    }
}

/// Adds two numbers. The sum of integers is exact. Returns `None` if it overflows 64 bits, or the doubles.
fn add(number: &Number, amount: &Number) -> Option<Number> {
    match (number.as_i64(), amount.as_i64()) {
        (Some(number), Some(amount)) => number.checked_add(amount).map(Number::from),
        _ => Number::from_f64(number.as_f64()? + amount.as_f64()?),
    }
}

fn find<'a>(root: &'a mut Value, path: &[Segment]) -> Option<&'a mut Value> {
    debug_assert!(path.len() <= MAX_DEPTH, "a path is shorter than a document is deep");
    path.iter().try_fold(root, |at, segment| match (segment, at) {
        (Segment::Key(key), Value::Object(fields)) => fields.get_mut(key),
        (Segment::Index(index), Value::Array(items)) => items.get_mut(*index as usize),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(before: &str, patch: &str) -> Result<String, String> {
        let patch =
            Patch::from_data(Data::parse(patch.as_bytes()).unwrap()).map_err(|err| err.to_string())?;
        let after = patch.apply(&Data::parse(before.as_bytes()).unwrap()).map_err(|err| err.to_string())?;
        Ok(after.text().to_owned())
    }

    #[test]
    fn operators_change_the_old_value() {
        for (why, before, patch, after) in [
            ("inc", r#"{"n":1}"#, r#"{"$inc":{"n":2}}"#, r#"{"n":3}"#),
            ("inc of a missing field", r#"{}"#, r#"{"$inc":{"n":-2}}"#, r#"{"n":-2}"#),
            (
                "null is missing",
                r#"{"n":null,"o":null}"#,
                r#"{"$inc":{"n":1,"o.p":1}}"#,
                r#"{"n":1,"o":{"p":1}}"#,
            ),
            (
                "integers stay exact",
                r#"{"n":9007199254740993}"#,
                r#"{"$inc":{"n":2}}"#,
                r#"{"n":9007199254740995}"#,
            ),
            ("a fraction", r#"{"n":0.5}"#, r#"{"$inc":{"n":1}}"#, r#"{"n":1.5}"#),
            ("a whole sum is an integer", r#"{"n":0.5}"#, r#"{"$inc":{"n":1.5}}"#, r#"{"n":2}"#),
            (
                "a path, and its objects",
                r#"{"a":{"b":1}}"#,
                r#"{"$inc":{"a.b":1,"a.c.d":1}}"#,
                r#"{"a":{"b":2,"c":{"d":1}}}"#,
            ),
            ("a place in a list", r#"{"a":[{"n":1}]}"#, r#"{"$inc":{"a.0.n":1}}"#, r#"{"a":[{"n":2}]}"#),
            ("a dot in a name", r#"{"a.b":1}"#, r#"{"$inc":{"a\\.b":1}}"#, r#"{"a.b":2}"#),
            ("append", r#"{"t":["a"]}"#, r#"{"$append":{"t":["b","a"]}}"#, r#"{"t":["a","b","a"]}"#),
            ("append one", r#"{"t":["a"]}"#, r#"{"$append":{"t":"b"}}"#, r#"{"t":["a","b"]}"#),
            ("append a list", r#"{"t":[]}"#, r#"{"$append":{"t":[["b"]]}}"#, r#"{"t":[["b"]]}"#),
            (
                "append makes the list",
                r#"{}"#,
                r#"{"$append":{"t":1,"o.t":[]}}"#,
                r#"{"o":{"t":[]},"t":[1]}"#,
            ),
            (
                "remove all that are equal",
                r#"{"t":[1,"1",1,{"b":1,"a":2}]}"#,
                r#"{"$remove":{"t":[1.0,{"a":2,"b":1}]}}"#,
                r#"{"t":["1"]}"#,
            ),
            ("remove of nothing", r#"{"o":1}"#, r#"{"$remove":{"t":1,"o.t":1}}"#, r#"{"o":1}"#),
            (
                "unset",
                r#"{"a":1,"b":{"c":1,"d":2}}"#,
                r#"{"$unset":["a","b.c","x","a.b"]}"#,
                r#"{"b":{"d":2}}"#,
            ),
            ("unset one", r#"{"a":1,"b":2}"#, r#"{"$unset":"a"}"#, r#"{"b":2}"#),
            (
                "two spellings of one path",
                r#"{"l":[[1,2,3]]}"#,
                r#"{"$remove":{"l.0":1,"l.00":[2]}}"#,
                r#"{"l":[[3]]}"#,
            ),
            (
                "in one order",
                r#"{"n":1,"t":["a"]}"#,
                r#"{"$unset":["u"],"$remove":{"t":"b"},"$append":{"t":["b","c"]},"$inc":{"n":1},"n":5,"u":1}"#,
                r#"{"n":6,"t":["a","c"]}"#,
            ),
            ("no operator", r#"{"a":1}"#, r#"{"a.b":2}"#, r#"{"a":1,"a.b":2}"#),
        ] {
            assert_eq!(apply(before, patch).as_deref(), Ok(after), "{why}");
        }
    }

    #[test]
    fn an_operator_that_does_not_fit_is_explained() {
        for (before, patch, part) in [
            (r#"{"n":"1"}"#, r#"{"$inc":{"n":1}}"#, "the field `n` is a string, not a number"),
            (r#"{"n":9223372036854775807}"#, r#"{"$inc":{"n":1}}"#, "64-bit integers"),
            (r#"{"n":1.7e308}"#, r#"{"$inc":{"n":1.7e308}}"#, "doubles"),
            (r#"{"t":"x"}"#, r#"{"$append":{"t":1}}"#, "not a list"),
            (r#"{"t":{}}"#, r#"{"$remove":{"t":1}}"#, "not a list"),
            (r#"{"a":1}"#, r#"{"$inc":{"a.b":1}}"#, "`b` would be inside a number"),
            (r#"{"a":[]}"#, r#"{"$inc":{"a.0":1}}"#, "past the end of a list of 0"),
            (r#"{}"#, r#"{"$inc":{"0":1}}"#, "a position in a list"),
            (r#"{}"#, r#"{"$inc":1}"#, "takes an object"),
            (r#"{}"#, r#"{"$inc":{"n":"1"}}"#, "takes numbers, but `n` has a string"),
            (r#"{}"#, r#"{"$inc":{"a..b":1}}"#, "is not a valid field"),
            (r#"{}"#, r#"{"$append":["t"]}"#, "takes an object"),
            (r#"{}"#, r#"{"$unset":{"a":1}}"#, "takes a list of field names"),
            (r#"{}"#, r#"{"$unset":["a.0"]}"#, "a position in a list"),
            (r#"{}"#, r#"{"$push":{"t":1}}"#, "unknown operator `$push`"),
        ] {
            let message = apply(before, patch).unwrap_err();
            assert!(message.contains(part), "{patch} on {before}: {message}");
        }
    }

    #[test]
    fn an_operator_cannot_nest_a_document_too_deeply() {
        let deep = format!("{}1{}", "{\"a\":".repeat(50), "}".repeat(50));
        let patch = format!(r#"{{"$append":{{"{}":{deep}}}}}"#, vec!["a"; 15].join("."));
        let patch = Patch::from_data(Data::parse(patch.as_bytes()).unwrap()).unwrap();
        let too_deep = ApplyError::Data(DataError::TooDeep(MAX_DEPTH));
        assert_eq!(patch.apply(&Data::parse(b"{}").unwrap()), Err(too_deep));
    }
}
