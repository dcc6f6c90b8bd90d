//! The parameters of a list, which both doors serve: filter, order, page, and what is shown of each document.

use crate::{
    api::{
        error::{ApiError, ErrorCode},
        request::{
            parameters::{Parameters, invalid_parameter},
            unknown::refuse_unknown,
        },
    },
    query::{
        Filter,
        page::{Direction, Page, Sort},
        parse::Names,
        populate::Populate,
        select::Selection,
    },
};

/// The largest `offset`: the database walks past every document before it. `after` has no such bound.
pub const MAX_OFFSET: u64 = 1_000_000;

/// The names of the parameter that orders. The libraries, and the generations of their documentation, have one each.
pub const SORTS: [&str; 3] = ["orderBy", "sort", "sort_by"];
/// The names of the parameter that gives the direction.
const ORDERS: [&str; 2] = ["order", "sort_order"];

/// The differences between the lists of the two doors.
pub struct ListStyle {
    /// The parameters of the API that this door serves. It refuses the others.
    pub served: &'static [&'static str],
    /// Documents of a page if `limit` is missing.
    pub default_limit: u64,
    /// The direction of every field if `order` is missing. `None`: each field's own, `-` before its name being descending.
    pub direction: Option<Direction>,
    /// How strictly the names of parameters are read.
    pub names: Names,
}

/// The parameters of a list, parsed.
pub struct ListParameters {
    pub filter: Filter,
    pub page: Page,
    pub view: View,
}

impl ListParameters {
    /// Reads the parameters of a list of at most `max_limit` documents.
    ///
    /// # Errors
    /// `INVALID_FILTER`, which names the parameter; `INVALID_CURSOR` for an `after` that is not of this list.
    pub fn parse(parameters: &Parameters, style: &ListStyle, max_limit: u64) -> Result<Self, ApiError> {
        parameters.refuse_all_but(style.served)?;
        let sort = parse_sort(parameters, style.direction, style.names)?;
        let after = parameters.single("after")?.map(|text| {
            sort.parse_cursor(text).ok_or_else(|| {
                let message = "`after` must be the `nextCursor` of a page with the same order";
                ApiError::new(ErrorCode::InvalidCursor, message)
            })
        });
        let after = after.transpose()?;
        let offset = parameters.number("offset", 0, 0, MAX_OFFSET)?;
        if after.is_some() && offset > 0 {
            return Err(invalid_parameter("`after` and `offset` exclude each other; give one of them"));
        }
        let limit = parameters.number("limit", style.default_limit.min(max_limit), 1, max_limit)?;
        Ok(Self {
            filter: parameters.filter_with(style.names)?,
            page: Page { sort, limit, offset, after },
            view: View::parse(parameters, style.names)?,
        })
    }
}

/// Reads the order of documents. The newest come first if no field is named and no direction is given.
///
/// # Errors
/// `INVALID_FILTER`, which names the term.
pub fn parse_sort(
    parameters: &Parameters,
    default: Option<Direction>,
    names: Names,
) -> Result<Sort, ApiError> {
    let mut direction = default;
    for name in ORDERS {
        direction = match parameters.single(name)? {
            None => direction,
            Some("asc") => Some(Direction::Ascending),
            Some("desc") => Some(Direction::Descending),
            Some(_) => return Err(invalid_parameter(format!("`{name}` must be `asc` or `desc`"))),
        };
    }
    let sorts: Vec<_> = parameters.all(&SORTS).collect();
    Ok(match sorts.as_slice() {
        [] => Sort::by_age(direction.unwrap_or(Direction::Descending)),
        texts => Sort::parse_with(&texts.join(","), direction, names)?,
    })
}

/// The parts of a document that are shown, and the documents that are joined to it.
pub struct View {
    /// The fields that are kept; `None` keeps all.
    pub selection: Option<Selection>,
    /// The relations that are followed.
    pub populate: Populate,
}

impl View {
    /// Reads `select` and `populate`, each of which may be given several times.
    ///
    /// # Errors
    /// `INVALID_FILTER`, which names the term.
    pub fn parse(parameters: &Parameters, names: Names) -> Result<Self, ApiError> {
        let is_selected = parameters.all(&["select"]).next().is_some();
        let selection =
            is_selected.then(|| Selection::parse(parameters.all(&["select"]), names)).transpose()?;
        Ok(Self { selection, populate: Populate::parse(parameters.all(&["populate"]), names)? })
    }

    /// Reads the same of a single document, where no parameter can be a filter.
    ///
    /// # Errors
    /// `INVALID_FILTER` for any other parameter.
    pub fn of_document(parameters: &Parameters, names: Names) -> Result<Self, ApiError> {
        const TAKEN: [&str; 2] = ["select", "populate"];
        if names == Names::Strict {
            refuse_unknown(parameters, &TAKEN)?;
        }
        match parameters.pairs().find(|(name, _)| !TAKEN.contains(name)) {
            Some((name, _)) => Err(invalid_parameter(format!(
                "the parameter `{name}` is not available here; a document read by its id takes `select` and `populate`"
            ))),
            None => Self::parse(parameters, names),
        }
    }
}
