//! `coir import`: writes the records of a file through the API of a server that runs.
//!
//! Reading order: `record`, `records` with `table` (the file), `delivery` (the requests), this file, [`error`].

mod delivery;
pub mod error;
mod record;
mod records;
mod table;

use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};

use delivery::{Delivery, Refusal};
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

pub(super) async fn run(args: ImportArgs, given: &Given) -> Result<(), ImportError> {
    let key = args.server.key.filter(|key| !key.is_empty()).ok_or(ImportError::NoKey)?;
    let content = |reason| ImportError::Content(args.file.clone(), reason);
    let bytes = std::fs::read(&args.file).map_err(|err| ImportError::File(args.file.clone(), err))?;
    let text = records::decode(&bytes).map_err(content)?;
    let extension = args.file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let Records(records) = Records::read(text, extension, args.id_field.as_deref()).map_err(content)?;
    let total = records.len();

    let target = target::find(args.server.url.as_deref(), given).await?;
    let delivery = Delivery::new(&target.url, &args.collection, key)?;
    if args.dry_run {
        delivery.check().await.map_err(|refusal| ImportError::Refused(refusal.message))?;
        print(format_args!(
            "{total} documents would be written into `{}`. Nothing was written.",
            args.collection
        ))?;
        return Ok(());
    }
    let bar = ProgressBar::new(total as u64).with_style(bar_style());
    bar.set_message(args.collection.clone());
    let mut failed = 0;
    let requests = batches(&records).into_iter().map(|batch| {
        let delivery = &delivery;
        async move { (batch.len(), delivery.write(batch).await) }
    });
    let mut answers = stream::iter(requests).buffered(usize::from(args.concurrency));
    while let Some((count, answer)) = answers.next().await {
        bar.inc(count as u64);
        for Refusal { line, message, is_final } in answer {
            failed += 1;
            if is_final {
                bar.abandon();
                return Err(ImportError::Refused(message));
            }
            if failed <= SHOWN_REFUSALS {
                bar.suspend(|| note(format_args!("line {line}: {message}")));
            }
        }
    }
    bar.finish();
    print(format_args!("Wrote {} of {total} documents into `{}`.", total - failed, args.collection))?;
    if failed > 0 { Err(ImportError::Incomplete { failed, total }) } else { Ok(()) }
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}  {per_sec}  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
