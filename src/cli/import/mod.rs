//! `coir import`: writes the records of a file through the API of a server that runs.
//!
//! Reading order: `record`, `records` with `table` (the file), `delivery` (the requests), this file, [`error`].

mod delivery;
pub mod error;
mod record;
mod records;
mod table;

use std::path::Path;

use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};

use delivery::{Delivery, Mode, Refusal};
use error::ImportError;
use record::batches;
use records::Records;

use super::{
    arguments::ImportArgs,
    output::{note, print},
    target,
};
use crate::config::Given;

/// The most refused documents that are shown. Further ones are only counted.
const SHOWN_REFUSALS: usize = 5;
/// The most fields that are shown.
const SHOWN_NAMES: usize = 20;

pub(super) async fn run(args: ImportArgs, given: &Given) -> Result<(), ImportError> {
    let key = args.server.key.filter(|key| !key.is_empty()).ok_or(ImportError::NoKey)?;
    let content = |reason| ImportError::Content(args.file.clone(), reason);
    let bytes = read_file(&args.file)?;
    let text = records::decode(&bytes).map_err(content)?;
    let extension = args.file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let Records { all: records, names } =
        Records::read(text, extension, args.id_field.as_deref()).map_err(content)?;
    let total = records.len();
    let is_one_line = total > 1 && records.iter().all(|record| record.line == 1);
    if !names.is_empty() {
        note(format_args!("The first line names the fields {}.", quoted(&names)));
    }

    let target = target::find(args.server.url.as_deref(), given).await?;
    let mode = if args.dry_run { Mode::Try } else { Mode::Write };
    let delivery = Delivery::new(&target.url, &args.collection, key, mode)?;
    let bar = ProgressBar::new(total as u64).with_style(bar_style());
    bar.set_message(args.collection.clone());
    let mut failed = 0;
    let requests = batches(&records).into_iter().map(|batch| {
        let delivery = &delivery;
        async move { (batch.len(), delivery.deliver(batch).await) }
    });
    let mut answers = stream::iter(requests).buffered(usize::from(args.concurrency));
    while let Some((count, answer)) = answers.next().await {
        bar.inc(count as u64);
        for Refusal { line, number, message, is_final } in answer {
            failed += 1;
            if is_final {
                bar.abandon();
                return Err(ImportError::Refused(message));
            }
            if failed <= SHOWN_REFUSALS {
                bar.suspend(|| match is_one_line {
                    true => note(format_args!("record {number}: {message}")),
                    false => note(format_args!("line {line}: {message}")),
                });
            }
        }
    }
    bar.finish();
    let (good, collection) = (total - failed, args.collection);
    match (mode, failed) {
        (Mode::Try, 0) => {
            print(format_args!(
                "{good} documents would be written into `{collection}`. Nothing was written."
            ))?;
        }
        (Mode::Try, _) => return Err(ImportError::WouldBeIncomplete { failed, total }),
        (Mode::Write, _) => print(format_args!("Wrote {good} of {total} documents into `{collection}`."))?,
    }
    if failed > 0 { Err(ImportError::Incomplete { failed, total }) } else { Ok(()) }
}

/// Reads a file. A pipe whose writer never comes would be waited for without end.
fn read_file(path: &Path) -> Result<Vec<u8>, ImportError> {
    let failed = |err| ImportError::File(path.to_owned(), err);
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(ImportError::NoFile(path.to_owned(), "a directory; name a file in it"));
    }
    if !metadata.is_file() {
        return Err(ImportError::NoFile(
            path.to_owned(),
            "a pipe or a device and not a file; write the records into a file first",
        ));
    }
    std::fs::read(path).map_err(failed)
}

/// Returns the first names of a list.
fn quoted(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(SHOWN_NAMES).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > SHOWN_NAMES { " …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}  {per_sec}  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
