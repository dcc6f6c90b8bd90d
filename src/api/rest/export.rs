//! `GET /collections/{collection}/export`: streams all documents that match, as JSON, NDJSON or CSV.
//!
//! If the export fails midway, the connection is cut. The client sees an incomplete HTTP answer, and JSON without its end.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::{
    HttpResponse,
    body::{BodySize, MessageBody},
    http::header,
    web::Path,
};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde_json::Value;

use super::shown::{DocumentBody, RelatedBody};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::{
            Caller, Parameters,
            list::{View, parse_sort},
            parameters::invalid_parameter,
        },
        response::{FREE_BYTES, Outgoing},
        state::State,
    },
    domain::Document,
    query::{parse::Names, select::Selection},
    service::{
        exports::{Export, ExportPage, Wanted},
        populate::Relations,
    },
    shares::BudgetPermit,
};

/// `format=json` (the default), `ndjson` or `csv`; filters, sorts, `select` and `populate` as in a list. 200 with a file.
pub async fn export(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    mut parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let defuses = match parameters.take("raw").iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["false"] => true,
        ["true"] => false,
        _ => return Err(invalid_parameter("`raw` must be `true` or `false`")),
    };
    parameters.refuse_all_but(&[
        "format",
        "orderBy",
        "sort",
        "sort_by",
        "order",
        "sort_order",
        "select",
        "populate",
        "filters",
    ])?;
    let format = match parameters.single("format")? {
        None | Some("json") => Format::Json,
        Some("ndjson") => Format::Ndjson,
        Some("csv") => Format::Csv { columns: Vec::new(), defuses },
        Some(_) => return Err(invalid_parameter("`format` must be `json`, `ndjson` or `csv`")),
    };
    let View { selection, populate } = View::parse(&parameters, Names::Strict)?;
    let relations: Vec<_> = populate.relations.iter().map(|relation| relation.name.clone()).collect();
    let wanted = Wanted {
        filter: parameters.filter()?,
        sort: parse_sort(&parameters, None, Names::Strict)?,
        populate,
    };
    let export = state.exports.begin(principal, &collection, wanted).await?;
    let format = match format {
        Format::Csv { .. } => {
            Format::Csv { columns: columns(&export, selection.as_ref(), &relations).await?, defuses }
        }
        format => format,
    };
    let name = format!("{}.{}", export.collection.name, format.extension());
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, format.content_type()))
        // A collection's name needs no quoting.
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")));

    let mut writer = Writer { format, selection, export, state: WriterState::Begin };
    // A failure of the first page is still answered with an error status.
    let first = writer.next().await?;
    Ok(response.body(ExportBody::new(writer, first)))
}

/// The next part of an export and its memory, and the writer of the parts after it.
type NextPart = LocalBoxFuture<'static, (Writer, Result<Option<Part>, ApiError>)>;

/// The body of an export: reads a page when the peer has taken the one before.
struct ExportBody {
    outgoing: Outgoing,
    next: NextPart,
}

impl ExportBody {
    fn new(writer: Writer, first: Option<Part>) -> Self {
        let outgoing = Outgoing::default();
        if let Some(Part { text, memory }) = first {
            outgoing.put(text, memory);
        }
        Self { outgoing, next: next_part(writer) }
    }
}

fn next_part(mut writer: Writer) -> NextPart {
    Box::pin(async move {
        let next = writer.next().await;
        (writer, next)
    })
}

impl MessageBody for ExportBody {
    type Error = actix_web::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        loop {
            if let Some(piece) = self.outgoing.next_piece()? {
                return Poll::Ready(Some(Ok(piece)));
            }
            let (writer, next) = ready!(self.next.as_mut().poll(context));
            let name = &writer.export.collection.name;
            match next {
                Ok(None) => return Poll::Ready(None),
                Ok(Some(Part { text, memory })) => {
                    self.outgoing.put(text, memory);
                    self.next = next_part(writer);
                }
                Err(err) => {
                    tracing::warn!(collection = %name, "the export of `{name}` failed midway: {err}");
                    return Poll::Ready(Some(Err(err.into())));
                }
            }
        }
    }
}

/// Returns the columns after those of every document: the selected fields, or else all top-level fields by name; then the
/// relations.
async fn columns(
    export: &Export,
    selection: Option<&Selection>,
    relations: &[String],
) -> Result<Vec<String>, ApiError> {
    let mut columns = match selection {
        Some(selection) => selection.top_level().to_vec(),
        None => export.field_names().await?,
    };
    columns.extend(relations.iter().filter(|name| !columns.contains(name)).cloned().collect::<Vec<_>>());
    Ok(columns)
}

enum Format {
    Json,
    Ndjson,
    /// With `defuses`, a text that a spreadsheet would run as a formula gets an apostrophe before it.
    Csv {
        columns: Vec<String>,
        defuses: bool,
    },
}

impl Format {
    fn extension(&self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv { .. } => "csv",
        }
    }

    fn content_type(&self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv { .. } => "text/csv; charset=utf-8; header=present",
        }
    }
}

/// How much of the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriterState {
    Begin,
    Middle,
    End,
}

struct Writer {
    format: Format,
    selection: Option<Selection>,
    export: Export,
    state: WriterState,
}

/// A part of the answer, and the memory that it takes.
struct Part {
    text: Bytes,
    memory: BudgetPermit,
}

impl Writer {
    /// Writes the next part of the answer; `None` after its end.
    async fn next(&mut self) -> Result<Option<Part>, ApiError> {
        if self.state == WriterState::End {
            return Ok(None);
        }
        let ExportPage { documents, scan } = self.export.next_page().await?;
        // The database's part is done, so that it is another's turn.
        let mut memory = scan.into_memory();
        let mut text = Vec::new();
        if self.state == WriterState::Begin {
            self.write_begin(&mut text);
        }
        for (place, (document, relations)) in documents.iter().enumerate() {
            let is_first = self.state == WriterState::Begin && place == 0;
            self.write(&mut text, document, relations, is_first)?;
        }
        self.state = WriterState::Middle;
        if documents.is_empty() {
            if matches!(self.format, Format::Json) {
                text.extend_from_slice(b"\n]\n");
            }
            self.state = WriterState::End;
        }
        drop(documents);
        text.shrink_to_fit();
        memory.shrink_to(if text.len() > FREE_BYTES { text.len() } else { 0 });
        Ok(Some(Part { text: text.into(), memory }))
    }

    fn write_begin(&self, text: &mut Vec<u8>) {
        match &self.format {
            Format::Json => text.push(b'['),
            Format::Ndjson => {}
            Format::Csv { columns, defuses } => {
                let own = OWN_COLUMNS.map(str::to_owned);
                let columns = columns.iter().map(|name| match OWN_COLUMNS.contains(&name.as_str()) {
                    // A field with the name of an own column gets the name that filters use for it.
                    true => format!("data.{name}"),
                    false => name.clone(),
                });
                let cells = own.into_iter().chain(columns).map(Cell::Text);
                write_record(text, cells, *defuses);
            }
        }
    }

    fn write(
        &self,
        text: &mut Vec<u8>,
        document: &Document,
        relations: &Relations,
        is_first: bool,
    ) -> Result<(), ApiError> {
        let broken = |err: serde_json::Error| ApiError::new(ErrorCode::Internal, err.to_string());
        if let Format::Csv { columns, defuses } = &self.format {
            write_record(text, self.cells(document, relations, columns), *defuses);
            return Ok(());
        }
        let name = self.export.collection.name.as_str();
        let body = DocumentBody::shown(name, document, self.selection.as_ref(), relations);
        if matches!(self.format, Format::Json) {
            text.extend_from_slice(if is_first { b"\n" } else { b",\n" });
        }
        serde_json::to_writer(&mut *text, &body).map_err(broken)?;
        if matches!(self.format, Format::Ndjson) {
            text.push(b'\n');
        }
        Ok(())
    }

    fn cells<'a>(
        &'a self,
        document: &'a Document,
        relations: &'a Relations,
        columns: &'a [String],
    ) -> impl Iterator<Item = Cell> + 'a {
        let selected = self.selection.as_ref().map(|selection| selection.of(document.data.fields()));
        let own = [
            document.id.as_str().to_owned(),
            document.created_at.to_string(),
            document.updated_at.to_string(),
            document.version.to_string(),
        ];
        let values = columns.iter().map(move |name| {
            if let Some((_, related)) = relations.iter().find(|(relation, _)| relation == name) {
                return Cell::Text(serde_json::to_string(&RelatedBody(related)).unwrap_or_default());
            }
            let fields = selected.as_ref().unwrap_or(document.data.fields());
            match fields.get(name) {
                None | Some(Value::Null) => Cell::Empty,
                Some(Value::String(text)) => Cell::Text(text.clone()),
                Some(value) => Cell::Value(value.to_string()),
            }
        });
        own.into_iter().map(Cell::Text).chain(values)
    }
}

/// The CSV columns that every document has.
const OWN_COLUMNS: [&str; 4] = ["id", "createdAt", "updatedAt", "version"];

/// A field of a CSV record.
enum Cell {
    /// The value is null or missing.
    Empty,
    Text(String),
    /// The JSON text of another value, which no spreadsheet runs.
    Value(String),
}

/// Whether a spreadsheet would take a text for a formula (OWASP, CSV injection).
fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<serde_json::Number>().is_err()
}

/// Writes a record after RFC 4180. An empty text is quoted, because an unquoted one is a missing value.
fn write_record(text: &mut Vec<u8>, cells: impl Iterator<Item = Cell>, defuses: bool) {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            text.push(b',');
        }
        let cell = match cell {
            Cell::Empty => continue,
            Cell::Text(cell) if defuses && is_formula(&cell) => format!("'{cell}"),
            Cell::Text(cell) | Cell::Value(cell) => cell,
        };
        if !cell.is_empty() && !cell.contains(['"', ',', '\r', '\n']) {
            text.extend_from_slice(cell.as_bytes());
            continue;
        }
        text.push(b'"');
        text.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
        text.push(b'"');
    }
    text.extend_from_slice(b"\r\n");
}
