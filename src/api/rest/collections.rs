//! Collections: creates and lists them, reads and changes their settings.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web::Path};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::value::RawValue;

use super::{
    settings::{CollectionBody, SettingsBody},
    success::Success,
};
use crate::{
    api::{
        error::{ApiError, ErrorCode},
        headers::add_cursor,
        request::{
            Body, Caller, Parameters,
            preference::{self, prefers_minimal},
            unknown::{refuse_in_write, refuse_unknown},
        },
        state::State,
    },
    auth::Principal,
    domain::{
        Collection, CollectionName, Schema, USERS,
        json::{self, Unique},
        json_mistake::explain,
    },
    query::{index_definition::IndexDefinition, parse::check_own_member, rule::RuleSet},
    service::{
        Collections,
        collections::{CollectionPage, SettingsChange},
    },
    writer::{Committed, Outcome},
};

/// The most indexes of a collection.
const MAX_INDEXES: usize = 16;

/// The body of a create. Unknown members are refused, because ignoring them would mislead.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCollection<'a> {
    name: String,
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    rules: Option<&'a RawValue>,
    #[serde(default)]
    indexes: Vec<NewIndex>,
}

/// The body of a change. A setting that is left out stays as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes<'a> {
    name: Option<String>,
    /// `Some(None)` is a `null`, which removes the schema.
    #[serde(borrow, default, deserialize_with = "given")]
    schema: Option<Option<&'a RawValue>>,
    /// `Some(None)` is a `null`, which removes the rules.
    #[serde(borrow, default, deserialize_with = "given")]
    rules: Option<Option<&'a RawValue>>,
    /// All indexes that the collection is to have.
    indexes: Option<Vec<NewIndex>>,
}

struct NewIndex {
    fields: Vec<String>,
    unique: bool,
}

impl<'de> Deserialize<'de> for NewIndex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, expecting = "an object with the member `fields`")]
        struct Members {
            fields: Vec<String>,
            #[serde(default)]
            unique: bool,
        }
        let Unique(value) = Unique::deserialize(deserializer)?;
        let shown: String = value.to_string().chars().take(60).collect();
        match serde_json::from_value(value) {
            Ok(Members { fields, unique }) => Ok(Self { fields, unique }),
            Err(err) => Err(D::Error::custom(format!(
                "`{shown}` is not an index ({}); write {{\"fields\":[\"status\",\"-createdAt\"],\"unique\":false}}",
                explain(&err)
            ))),
        }
    }
}

/// A page of collections.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CollectionsBody<'a> {
    #[serde(flatten)]
    page: Success<Vec<CollectionBody<'a>>>,
    /// Where the next page begins; `null` on the last page.
    next_cursor: Option<String>,
}

/// Tells `null` from a missing member.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<&'de RawValue>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `POST /collections` `{"name","schema"?,"rules"?,"indexes"?}` → 201 with the collection; 409 if the name is taken. A schema,
/// rules or indexes take a secret key.
pub async fn create(
    state: State,
    request: HttpRequest,
    Caller(principal): Caller,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_in_write(&request)?;
    let new: NewCollection<'_> = body.json()?;
    let name = parse_name(&new.name)?;
    let is_given = |value: Option<&RawValue>| value.is_some_and(|value| value.get() != "null");
    if is_given(new.schema) || is_given(new.rules) || !new.indexes.is_empty() {
        state.collections.check_change(&principal)?;
    }
    let schema = parse_schema(new.schema).await?;
    let (indexes, rules) = (parse_indexes(new.indexes)?, parse_rules(new.rules)?);
    let committed = state.collections.create(&principal, name, schema, (indexes, rules)).await?;
    answer((&request, HttpResponse::Created()), &state.collections, &principal, &committed).await
}

/// `GET /collections` → 200 with a page of the collections, by name: `limit`, and `after`, which takes the `nextCursor` of the
/// page before. Without `limit` it is the largest page.
pub async fn list(
    state: State,
    Caller(principal): Caller,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    let list = state.collections.list(&principal, page_of(&state, &parameters)?).await?;
    let bodies: Vec<_> = list.collections.iter().map(|collection| CollectionBody::new(collection)).collect();
    let last = list.collections.last().filter(|_| !list.is_last);
    let next_cursor = last.map(|last| cursor_after(last));
    Ok(HttpResponse::Ok().json(CollectionsBody { page: Success::new(bodies), next_cursor }))
}

/// Reads which page of collections is wanted.
pub(super) fn page_of(state: &State, parameters: &Parameters) -> Result<CollectionPage, ApiError> {
    refuse_unknown(parameters, &["limit", "after"])?;
    let limit = parameters.number("limit", state.limits.page, 1, state.limits.page)? as usize;
    let after = parameters.single("after")?.map(parse_cursor).transpose()?;
    Ok(CollectionPage { after, offset: 0, limit })
}

/// Returns the cursor of the page of collections after this one.
pub(super) fn cursor_after(collection: &Collection) -> String {
    URL_SAFE_NO_PAD.encode(collection.name.as_str())
}

/// Reads the cursor of a page of collections: the name of the last one before it.
fn parse_cursor(text: &str) -> Result<CollectionName, ApiError> {
    let name = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let parse = |name: String| match name.as_str() {
        USERS => Some(CollectionName::from_stored(USERS)),
        name => CollectionName::parse(name).ok(),
    };
    name.and_then(parse).ok_or_else(|| {
        ApiError::new(ErrorCode::InvalidCursor, "`after` must be the `nextCursor` of a page of collections")
    })
}

/// `GET /collections/{collection}/settings` → 200 with the collection and its settings.
pub async fn get(
    state: State,
    Caller(principal): Caller,
    collection: Path<String>,
    parameters: Parameters,
) -> Result<HttpResponse, ApiError> {
    refuse_unknown(&parameters, &[])?;
    let collection = state.collections.get(&principal, &collection).await?;
    let hidden = state.collections.hidden_settings(&principal, &collection).await?;
    Ok(HttpResponse::Ok().json(Success::new(SettingsBody::new(&collection, hidden.as_ref()))))
}

/// `PATCH /collections/{collection}/settings` `{"name"?,"schema"?,"rules"?,"indexes"?}` → 200 with the changed collection.
///
/// A `schema` of `null` removes the schema. A schema that existing documents don't fit is 422, which names them. The `rules` and
/// the `indexes` replace the current ones, and `rules` of `null` remove them.
pub async fn change(
    state: State,
    request: HttpRequest,
    Caller(principal): Caller,
    collection: Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    refuse_in_write(&request)?;
    let changes: Changes<'_> = body.json()?;
    state.collections.check_change(&principal)?;
    let name = changes.name.as_deref().map(parse_name).transpose()?;
    let schema = match changes.schema {
        None => None,
        Some(schema) => Some(parse_schema(schema).await?),
    };
    let indexes = changes.indexes.map(parse_indexes).transpose()?;
    let rules = changes.rules.map(parse_rules).transpose()?;
    if name.is_none() && schema.is_none() && rules.is_none() && indexes.is_none() {
        let message = "the body changes nothing; the settings are `name`, `schema`, `rules` and `indexes`";
        return Err(ApiError::new(ErrorCode::InvalidBody, message));
    }
    let change = SettingsChange { name, schema, rules, indexes };
    let committed = state.collections.change(&principal, collection.into_inner(), change).await?;
    answer((&request, HttpResponse::Ok()), &state.collections, &principal, &committed).await
}

fn parse_name(name: &str) -> Result<CollectionName, ApiError> {
    CollectionName::parse(name)
        .map_err(|err| ApiError::new(ErrorCode::InvalidCollectionName, err.to_string()))
}

fn parse_indexes(indexes: Vec<NewIndex>) -> Result<Vec<IndexDefinition>, ApiError> {
    let refuse = |message: String| Err(ApiError::new(ErrorCode::InvalidBody, message));
    let unfit = |name: &str, why: &str| {
        ApiError::new(ErrorCode::InvalidBody, format!("`{name}` is not a valid field to index: {why}"))
    };
    if indexes.len() > MAX_INDEXES {
        return refuse(format!(
            "`indexes` has more than {MAX_INDEXES} items; a collection must have at most {MAX_INDEXES} indexes"
        ));
    }
    let mut definitions: Vec<IndexDefinition> = Vec::new();
    for NewIndex { fields, unique } in indexes {
        for name in &fields {
            let name = name.strip_prefix('-').unwrap_or(name);
            check_own_member(name).map_err(|why| unfit(name, &why))?;
        }
        let definition = IndexDefinition::parse(fields, unique)?;
        if definitions.iter().any(|other| other.fields == definition.fields) {
            return refuse(format!(
                "two items of `indexes` have the same fields ({}); leave one out",
                definition.names.join(", ")
            ));
        }
        definitions.push(definition);
    }
    Ok(definitions)
}

/// Compiles a schema on a blocking thread, because a large one takes long.
async fn parse_schema(raw: Option<&RawValue>) -> Result<Option<Arc<Schema>>, ApiError> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Ok(None) };
    let text = raw.get().to_owned();
    let parsed = tokio::task::spawn_blocking(move || Schema::parse(&text)).await;
    let parsed =
        parsed.map_err(|_| ApiError::new(ErrorCode::Overloaded, "the server is stopping; try again"))?;
    Ok(Some(parsed?))
}

fn parse_rules(raw: Option<&RawValue>) -> Result<Option<Arc<RuleSet>>, ApiError> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Ok(None) };
    let refuse = |message: String| ApiError::new(ErrorCode::InvalidBody, message);
    let value = json::parse(raw.get().as_bytes())
        .map_err(|err| refuse(format!("`rules` is not valid JSON: {}", explain(&err))))?;
    let rules = RuleSet::parse(value).map_err(|err| refuse(err.to_string()))?;
    Ok(Some(Arc::new(rules)))
}

async fn answer(
    (request, mut response): (&HttpRequest, HttpResponseBuilder),
    collections: &Collections,
    principal: &Principal,
    committed: &Committed,
) -> Result<HttpResponse, ApiError> {
    add_cursor(&mut response, principal, committed);
    Ok(match committed.outcomes.last() {
        Some(Outcome::Collection(collection)) if prefers_minimal(request) => {
            response.insert_header(preference::APPLIED);
            response.json(Success::new(CollectionBody::new(collection)))
        }
        Some(Outcome::Collection(collection)) => {
            let hidden = collections.hidden_settings(principal, collection).await?;
            response.json(Success::new(SettingsBody::new(collection, hidden.as_ref())))
        }
        _ => response.json(Success::new(())),
    })
}
