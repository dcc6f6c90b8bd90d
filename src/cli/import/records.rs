//! Reads the records of a file, and checks their ids.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{record::Record, table};
use crate::domain::{DocumentId, Timestamp, json_mistake::explain_alone};

/// The records of a file, in its order. No two have the same id.
pub(super) struct Records<'a> {
    pub(super) all: Vec<Record<'a>>,
    /// The fields that the first line of a table names. Empty for other files.
    pub(super) names: Vec<String>,
}

/// The beginnings of files that are no text, and what to do with them.
const OTHER_FILES: [(&[u8], &str); 5] = [
    (
        b"PK\x03\x04",
        "it is a spreadsheet (.xlsx, .ods) or another zip archive; save the sheet as CSV UTF-8, and import that",
    ),
    (
        b"\xd0\xcf\x11\xe0",
        "it is a spreadsheet of an old kind (.xls); save the sheet as CSV UTF-8, and import that",
    ),
    (b"\x1f\x8b", "it is compressed by gzip; unpack it, and import what was in it"),
    (b"SQLite format 3\0", "it is a database of SQLite; export a table as CSV or JSON, and import that"),
    (b"PAR1", "it is a Parquet file; save it as CSV or JSON lines, and import that"),
];

/// Takes a file's bytes for text, without the byte order mark that some editors begin it with.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, String> {
    if let Some((_, advice)) = OTHER_FILES.iter().find(|(beginning, _)| bytes.starts_with(beginning)) {
        return Err((*advice).to_owned());
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16; save it as UTF-8".to_owned());
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|err| {
        let line = line_at(bytes, err.valid_up_to());
        format!("line {line}: it is not UTF-8; save it as UTF-8")
    })
}

impl<'a> Records<'a> {
    /// Reads every record. The extension of the file's name says how.
    ///
    /// # Errors
    /// A sentence about the first record that is none, with its line.
    pub(super) fn read(text: &'a str, extension: &str, id_field: Option<&str>) -> Result<Self, String> {
        let (records, names) = match extension.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" => (read_lines(text)?, Vec::new()),
            "csv" | "tsv" => {
                let table = table::read(text)?;
                (table.records, table.names)
            }
            _ => (read_array(text)?, Vec::new()),
        };
        // In a file without line ends, the line says nothing.
        let is_one_line = records.len() > 1 && records.iter().all(|record| record.line == 1);
        let mut lines = HashMap::new();
        let mut checked = Vec::with_capacity(records.len());
        for (place, mut record) in records.into_iter().enumerate() {
            record.number = place + 1;
            let at = |reason: &str| match is_one_line {
                true => format!("line 1, record {}: {reason}", place + 1),
                false => format!("line {}: {reason}", record.line),
            };
            if let (None, Some(field)) = (&record.id, id_field) {
                record.id = Some(id_in(&record.data, field).map_err(|reason| at(&reason))?);
            }
            if let Some(id) = &record.id {
                DocumentId::parse(id).map_err(|err| at(&format!("`{id}` can't be an id: {err}")))?;
                if let Some(first) = lines.insert(id.clone(), record.line) {
                    return Err(at(&format!("the id `{id}` is already that of the record on line {first}")));
                }
            }
            checked.push(record);
        }
        Ok(Self { all: checked, names })
    }
}

/// Reads one JSON object per line.
fn read_lines(text: &str) -> Result<Vec<Record<'_>>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(place, line)| {
            let line_number = place + 1;
            let raw = serde_json::from_str(line).map_err(|err| {
                format!("line {line_number}, column {}: {}", err.column(), explain_alone(&err))
            })?;
            record(line_number, raw)
        })
        .collect()
}

/// Reads a JSON array.
fn read_array(text: &str) -> Result<Vec<Record<'_>>, String> {
    let wrong = |err: serde_json::Error| {
        let (line, column) = (err.line(), err.column());
        format!(
            "line {line}, column {column}: {}. A .json file must hold an array of objects; call a file of JSON lines .ndjson, and a table .csv",
            explain_alone(&err)
        )
    };
    let all: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
    let (mut line, mut seen) = (1, 0);
    all.into_iter()
        .map(|raw| {
            // The item is a part of the text, so its address says where it stands.
            let begin = (raw.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
            line += line_at(&text.as_bytes()[seen..], begin - seen) - 1;
            seen = begin;
            record(line, raw)
        })
        .collect()
}

/// Returns the line of a place in a text, from 1.
fn line_at(text: &[u8], place: usize) -> usize {
    1 + memchr::memchr_iter(b'\n', &text[..place]).count()
}

fn record(line: usize, raw: &RawValue) -> Result<Record<'_>, String> {
    if !raw.get().starts_with('{') {
        let shown: String = raw.get().chars().take(40).collect();
        return Err(format!("line {line}: a record must be a JSON object, and `{shown}` is none"));
    }
    Ok(match Exported::read(raw) {
        Some(Exported { id, data, .. }) => Record { line, number: 0, id: Some(id), data: data.get().into() },
        None => Record { line, number: 0, id: None, data: raw.get().into() },
    })
}

/// A document as an export, or a list, has it. It is written under its id; times and version begin anew.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Exported<'a> {
    id: String,
    #[serde(rename = "collection")]
    _collection: String,
    #[serde(borrow)]
    data: &'a RawValue,
    created_at: String,
    updated_at: String,
    #[serde(rename = "version")]
    _version: u64,
}

impl<'a> Exported<'a> {
    /// `None` for any other document, which has not exactly these members or has something else in them.
    fn read(document: &'a RawValue) -> Option<Self> {
        let exported: Self = serde_json::from_str(document.get()).ok()?;
        let has_times =
            [&exported.created_at, &exported.updated_at].iter().all(|text| Timestamp::parse(text).is_some());
        (has_times && exported.data.get().starts_with('{')).then_some(exported)
    }
}

/// Reads the id in a field of a record: a text, or a whole number.
fn id_in(data: &str, field: &str) -> Result<String, String> {
    let fields: HashMap<String, &RawValue> = serde_json::from_str(data).map_err(|err| explain_alone(&err))?;
    let value = fields.get(field).ok_or_else(|| format!("the record has no field `{field}` for its id"))?;
    match serde_json::from_str(value.get()) {
        Ok(serde_json::Value::String(id)) => Ok(id),
        Ok(serde_json::Value::Number(_)) if value.get().bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(value.get().to_owned())
        }
        _ => {
            let shown: String = value.get().chars().take(40).collect();
            Err(format!(
                "the field `{field}` must be a text or a whole number, to be an id, and is `{shown}`"
            ))
        }
    }
}
