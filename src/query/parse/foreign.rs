//! Names of other products' parameters, each with the advice for it. A name stands here only if a field of that name is
//! unlikely: `size`, `count` or `key` stay filters.

/// Parameters of a URL. A field of such a name takes an operator.
const PARAMETERS_ELSEWHERE: [(&[&str], &str); 18] = [
    (
        &["page", "_page", "pageNumber", "page_number"],
        "pages are asked for by `limit` and `offset`, or by `after` with the `nextCursor` of the page before",
    ),
    (
        &[
            "per_page",
            "_per_page",
            "perPage",
            "per-page",
            "pageSize",
            "page_size",
            "page-size",
            "pagesize",
            "max_results",
            "maxResults",
            "take",
            "_limit",
            "limitToFirst",
        ],
        "did you mean `limit`?",
    ),
    (&["limitToLast"], "did you mean `limit`, with `-` before the field of `orderBy`?"),
    (&["skip", "_start", "_offset"], "did you mean `offset`?"),
    (
        &["cursor", "page_token", "pageToken", "nextCursor", "next_cursor", "starting_after", "startAfter"],
        "did you mean `after`, or in a stream `since`?",
    ),
    (
        &["filter", "where", "query", "conditions", "_where", "_filter"],
        "write a parameter for each field, as in `year__gte=1968`, or `filters={\"year__gte\":1968}`",
    ),
    (
        &["equalTo", "startAt", "endAt", "endBefore", "_end"],
        "write the field's name and an operator, as in `year=1968` or `year__gte=1968`",
    ),
    (&["q", "search", "_q"], "`title__contains=text` looks for a text in a field"),
    (&["ids", "_ids"], "did you mean `id__in=a,b`?"),
    (&["fields", "columns", "projection", "_fields", "_select"], "did you mean `select`?"),
    (
        &[
            "order_by",
            "sortBy",
            "sort-by",
            "order-by",
            "sortby",
            "_sort",
            "ordering",
            "orderByChild",
            "orderByKey",
            "orderByValue",
        ],
        "did you mean `orderBy`?",
    ),
    (
        &["sortOrder", "sort_direction", "sortDirection", "orderDirection", "order_direction", "_order"],
        "did you mean `order`? It takes `asc` or `desc`",
    ),
    (&["include", "expand", "embed", "_expand", "_embed"], "did you mean `populate`?"),
    (
        &["groupBy", "group_by", "distinct"],
        "`GET /collections/{collection}/query/group-by?field=…` counts the values of a field",
    ),
    (
        &["or", "and"],
        "alternatives are written `[or]genre=Fantasy&[or]year__lt=1900`; all other terms must hold anyway",
    ),
    (
        &[
            "api_key",
            "apikey",
            "apiKey",
            "api-key",
            "x-api-key",
            "access_token",
            "accessToken",
            "authorization",
            "Authorization",
            "auth",
        ],
        "the key is sent in the header `Authorization: Bearer <key>` or `x-api-key: <key>`",
    ),
    (
        &["last_event_id", "last-event-id", "lasteventid"],
        "did you mean `lastEventId`, or `since`? Both take a cursor, and streams only",
    ),
    (
        &[
            "_",
            "_t",
            "_ts",
            "nocache",
            "no_cache",
            "noCache",
            "cachebust",
            "cacheBust",
            "cachebuster",
            "cacheBuster",
            "cache_buster",
        ],
        "leave it out: answers are not cached",
    ),
];

/// Parameters that a page or a tool adds, and that no answer depends on here.
const ADDED: [(&[&str], &str); 3] = [
    (&["pretty", "_pretty"], "answers are compact; `jq .` shows them line by line"),
    (
        &["callback", "jsonp", "_callback"],
        "there is no JSONP; a page of an allowed origin reads answers by `fetch` (COIR_ALLOWED_ORIGINS)",
    ),
    (&["fmt", "_format", "outputFormat", "output_format"], "did you mean `format`? It stands in exports"),
];

/// Returns the advice for a parameter of a URL that another product has.
pub fn advice_for(parameter: &str) -> Option<&'static str> {
    let mut tables = PARAMETERS_ELSEWHERE.iter().chain(&ADDED);
    if let Some((_, advice)) = tables.find(|(names, _)| names.contains(&parameter)) {
        return Some(advice);
    }
    let is_tracking = parameter.starts_with("utm_") || ["gclid", "fbclid", "msclkid"].contains(&parameter);
    is_tracking.then_some("a request to the API needs no tracking parameters; leave it out")
}

/// The members of a JSON filter that belong beside it.
pub(super) const BESIDE_FILTERS: [&str; 18] = [
    "limit",
    "offset",
    "orderBy",
    "orderby",
    "order_by",
    "sortBy",
    "sort_by",
    "sortOrder",
    "sort_order",
    "select",
    "populate",
    "perPage",
    "per_page",
    "pageSize",
    "page_size",
    "limitToFirst",
    "limitToLast",
    "orderByChild",
];

/// The members that hold a filter elsewhere.
pub(super) const AROUND_FILTERS: [&str; 5] = ["where", "filter", "filters", "query", "conditions"];

/// Endings after a single `_` that belong to no field's name. Those of which a name may end so, such as `_ltr` or `_nin`, are
/// not here.
pub(super) const ENDINGS: [&str; 23] = [
    "gtr",
    "gteq",
    "lteq",
    "GTE",
    "LTE",
    "neq",
    "not_eq",
    "not_in",
    "ilike",
    "icontains",
    "iexact",
    "istartswith",
    "iendswith",
    "iregex",
    "starts_with",
    "ends_with",
    "startsWith",
    "endsWith",
    "is_null",
    "isNull",
    "greater_than",
    "less_than",
    "greaterThan",
];
