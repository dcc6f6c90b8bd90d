//! Parses the rules of a collection. Every mistake in them is found here, with its place.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    checks::{
        Result, check_members, check_term, member_path, object, path, paths, refuse, shorten, template,
    },
    condition::{Condition, Relation, Term, TermOnCaller, filter_of},
    rule_set::{RuleAction, RuleError, RuleSet, WriteRule},
    stamp::Stamps,
    update::UpdateRule,
    variable::{Template, Variable},
};
use crate::{
    domain::{FieldPath, nearest},
    query::parse::{parse_field, split_operator},
};

/// The most bytes of the rules of a collection, as JSON.
const MAX_BYTES: usize = 64 * 1024;
/// The most terms of one action, with those of the named conditions that it uses.
const MAX_TERMS: usize = 100;
/// The most levels of groups, also through names.
const MAX_DEPTH: usize = 8;
/// The most relations of one action, and how many are one within the other.
const MAX_RELATIONS: usize = 3;
const MAX_NESTED_RELATIONS: usize = 2;
/// The most alternatives of `update`, named conditions, stamped fields, and fields with a rule.
const MAX_MEMBERS: usize = 50;

/// The members of rules.
pub const MEMBERS: [&str; 7] = ["let", "read", "create", "update", "delete", "fields", "stamp"];

impl RuleSet {
    /// Parses the member `rules` of a collection's settings.
    ///
    /// # Errors
    /// [`RuleError`], which names the place.
    pub fn parse(source: Value) -> Result<Self> {
        rule_set(source)
    }

    /// Reads rules from the database. Those that this version can't read deny everything.
    pub fn from_stored(text: &str) -> Self {
        let source: Value = serde_json::from_str(text).unwrap_or_default();
        Self::parse(source.clone()).unwrap_or_else(|_| Self::denying(source))
    }
}

fn rule_set(source: Value) -> Result<RuleSet> {
    let Value::Object(members) = &source else {
        return refuse(
            "rules",
            "must be a JSON object, such as {\"read\":true,\"create\":\"@user\"}, or null",
        );
    };
    if source.to_string().len() > MAX_BYTES {
        return refuse("rules", format!("the rules of a collection have at most {MAX_BYTES} bytes"));
    }
    check_members("rules", members, &MEMBERS)?;
    let named = match members.get("let") {
        Some(named) => object("rules.let", named)?.clone(),
        None => Map::new(),
    };
    let parser = Parser { named };
    parser.check_names()?;
    let stamps = |action: RuleAction| parser.stamps(members.get("stamp"), action);
    let (reads, writes) = parser.fields(members.get("fields"))?;
    let rules = RuleSet {
        read: parser.action(members, RuleAction::Read)?,
        create: parser.action(members, RuleAction::Create)?,
        update: parser.update(members.get("update"))?,
        delete: parser.action(members, RuleAction::Delete)?,
        reads,
        writes,
        stamps_on_create: stamps(RuleAction::Create)?,
        stamps_on_update: stamps(RuleAction::Update)?,
        source: source.clone(),
    };
    if let Some(stamp) = members.get("stamp") {
        check_members("rules.stamp", object("rules.stamp", stamp)?, &["create", "update"])?;
    }
    Ok(rules)
}

/// Who may read and who may write which fields.
type Reads = BTreeMap<FieldPath, Condition>;
type Writes = BTreeMap<FieldPath, WriteRule>;

struct Parser {
    named: Map<String, Value>,
}

impl Parser {
    /// Parses every named condition, also those that nothing uses.
    fn check_names(&self) -> Result<()> {
        if self.named.len() > MAX_MEMBERS {
            return refuse("rules.let", format!("there are at most {MAX_MEMBERS} named conditions"));
        }
        for (name, value) in &self.named {
            let place = format!("rules.let.{name}");
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || !name.chars().all(is_name) {
                return refuse(&place, "a name has letters, digits, `_` and `-`");
            }
            if name == "user" {
                return refuse(&place, "`@user` is built in: it is true if there is a user");
            }
            self.condition(&place, value, 1)?;
        }
        Ok(())
    }

    fn action(&self, members: &Map<String, Value>, action: RuleAction) -> Result<Condition> {
        let place = format!("rules.{action}");
        let Some(value) = members.get(action.as_str()) else { return Ok(Condition::Known(false)) };
        let condition = self.bounded(&place, value)?;
        if action == RuleAction::Read { self.without_now(&place, condition) } else { Ok(condition) }
    }

    /// Refuses the time in a condition on what can be read.
    fn without_now(&self, place: &str, condition: Condition) -> Result<Condition> {
        match condition.variables().contains(&&Variable::Now) {
            true => refuse(
                place,
                "`$now` is for writes and stamps: a document must not come or go without a change",
            ),
            false => Ok(condition),
        }
    }

    /// Parses a condition that is not part of another one.
    fn bounded(&self, place: &str, value: &Value) -> Result<Condition> {
        if value.as_object().is_some_and(Map::is_empty) {
            return refuse(place, "an empty rule admits everybody; write true for that");
        }
        let condition = self.condition(place, value, 1)?;
        if condition.terms() > MAX_TERMS {
            return refuse(place, format!("a rule has at most {MAX_TERMS} terms, with those of its names"));
        }
        if condition.related_collections().len() > MAX_RELATIONS {
            return refuse(
                place,
                format!("a rule has at most {MAX_RELATIONS} relations (`$from`), with those of its names"),
            );
        }
        Ok(condition)
    }

    fn condition(&self, place: &str, value: &Value, depth: usize) -> Result<Condition> {
        if depth > MAX_DEPTH {
            let message = format!("a rule has at most {MAX_DEPTH} levels of groups and names");
            return refuse(place, message);
        }
        match value {
            Value::Bool(holds) => Ok(Condition::Known(*holds)),
            Value::String(name) => self.named(place, name, depth),
            Value::Object(members) => {
                let member = |(key, value): (&String, &Value)| self.member(place, key, value, depth);
                let all = members.iter().map(member).collect::<Result<Vec<_>>>()?;
                Ok(Condition::All(all))
            }
            _ => refuse(place, "must be true, false, a filter, or a name such as \"@user\""),
        }
    }

    fn named(&self, place: &str, name: &str, depth: usize) -> Result<Condition> {
        let Some(name) = name.strip_prefix('@') else {
            return refuse(place, format!("`{}` is not a condition; a name begins with `@`", shorten(name)));
        };
        if name == "user" {
            return Ok(Condition::HasUser);
        }
        let Some(value) = self.named.get(name) else {
            let known = self.named.keys().map(String::as_str).chain(["user"]);
            let hint = match nearest(name, known) {
                Some(near) => format!("did you mean `@{near}`?"),
                None => "`let` has no condition of this name".to_owned(),
            };
            return refuse(place, format!("unknown name `@{}`; {hint}", shorten(name)));
        };
        // Names that use each other in a circle end at the bound on levels.
        self.condition(&format!("rules.let.{name}"), value, depth + 1)
    }

    /// Parses one member of a filter.
    fn member(&self, place: &str, key: &str, value: &Value, depth: usize) -> Result<Condition> {
        let inner = format!("{place}.{}", shorten(key));
        match key {
            "$and" => Ok(Condition::All(self.list(&inner, value, depth)?)),
            "$or" => Ok(Condition::Any(self.list(&inner, value, depth)?)),
            "$not" => Ok(Condition::Not(Box::new(self.condition(&inner, value, depth + 1)?))),
            _ if key.starts_with('$') => self.term_on_caller(&inner, key, value),
            _ if key.starts_with('@') => refuse(
                place,
                format!("a name stands alone, as in \"read\":\"{0}\" or {{\"$not\":\"{0}\"}}", shorten(key)),
            ),
            _ if key.starts_with('[') => refuse(&inner, "a rule groups its terms with `$or` and `$and`"),
            _ => self.term(&inner, key, value, depth),
        }
    }

    fn list(&self, place: &str, value: &Value, depth: usize) -> Result<Vec<Condition>> {
        let Value::Array(members) = value else {
            return refuse(place, "its value must be a list of conditions");
        };
        let member = |(index, member): (usize, &Value)| {
            self.condition(&format!("{place}[{index}]"), member, depth + 1)
        };
        members.iter().enumerate().map(member).collect()
    }

    fn term(&self, place: &str, key: &str, value: &Value, depth: usize) -> Result<Condition> {
        if let Value::Object(members) = value
            && members.contains_key("$from")
        {
            return self.relation(place, key, members, depth);
        }
        if let Value::String(text) = value
            && let Some(name) = text.strip_prefix('@')
            && (name == "user" || self.named.contains_key(name))
        {
            return refuse(
                place,
                format!("`{text}` is a condition and no value; the id of the user is `$user.id`"),
            );
        }
        let value = template(place, value)?;
        if let Template::Variable(variable) = &value
            && variable.is_single()
            && matches!(split_operator(key).1.trim_start_matches('_'), "in" | "notin")
        {
            return refuse(
                place,
                "its value must be a list, as in [\"$user.id\"]; one value takes no operator, or `__ne`",
            );
        }
        check_term(place, key, &value)?;
        match value {
            Template::Fixed(value) => match filter_of(key, value) {
                Ok(filter) => Ok(Condition::Fixed(filter)),
                Err(message) => refuse(place, message),
            },
            value => Ok(Condition::Term(Term { key: key.to_owned(), value })),
        }
    }

    /// Parses a term on the values of another collection.
    fn relation(
        &self,
        place: &str,
        key: &str,
        members: &Map<String, Value>,
        depth: usize,
    ) -> Result<Condition> {
        check_members(place, members, &["$from", "select", "where"])?;
        let (name, ending) = split_operator(key);
        let is_opposite = match ending.trim_start_matches('_') {
            "in" => false,
            "notin" => true,
            _ => {
                return refuse(
                    place,
                    "`$from` stands behind `__in` or `__notin`, as in {\"team__in\":{\"$from\":…}}",
                );
            }
        };
        let text = |member: &str, example: &str| match members.get(member) {
            Some(Value::String(text)) => Ok(text.as_str()),
            _ => refuse(place, format!("`{member}` must be {example}")),
        };
        let (collection, select) =
            (text("$from", "the name of a collection")?, text("select", "the name of a field")?);
        let field = |name: &str| parse_field(name).or_else(|err| refuse(place, err.to_string()));
        let filter = match members.get("where") {
            Some(filter) => self.condition(&format!("{place}.where"), filter, depth + 1)?,
            None => Condition::Known(true),
        };
        if filter.variables().contains(&&Variable::Now) {
            return refuse(place, "`$now` is no variable of `where`");
        }
        let relation = Relation { collection: collection.to_owned(), select: field(select)?, filter };
        let related = Condition::Related(field(name)?, Box::new(relation));
        if related.related_collections().len() > MAX_NESTED_RELATIONS {
            return refuse(place, format!("relations are at most {MAX_NESTED_RELATIONS} deep"));
        }
        Ok(if is_opposite { Condition::Not(Box::new(related)) } else { related })
    }

    fn term_on_caller(&self, place: &str, key: &str, value: &Value) -> Result<Condition> {
        if value.as_object().is_some_and(|members| members.contains_key("$from")) {
            return refuse(place, "`$from` compares a field of the document, which stands on the left");
        }
        let (name, ending) = split_operator(key);
        let variable = Variable::parse(name).or_else(|message| refuse(place, message))?;
        if variable == Variable::UserRoles
            && !matches!(ending.trim_start_matches('_'), "array_contains" | "isnull")
        {
            return refuse(
                place,
                "the roles are a list; whether a role is one of them is `$user.roles__array_contains`",
            );
        }
        let term = TermOnCaller { variable, ending: ending.to_owned(), value: template(place, value)? };
        // The caller is judged as a document, whose field has another name.
        check_term(place, &term.key(), &term.value).map_err(|err| RuleError {
            message: err.message.replace("`caller", &format!("`{name}")),
            ..err
        })?;
        Ok(Condition::OnCaller(term))
    }

    fn update(&self, value: Option<&Value>) -> Result<Vec<UpdateRule>> {
        let place = "rules.update";
        match value {
            None => Ok(Vec::new()),
            Some(Value::Array(all)) if all.len() > MAX_MEMBERS => {
                refuse(place, format!("there are at most {MAX_MEMBERS} alternatives"))
            }
            Some(Value::Array(all)) => {
                let one = |(index, value)| self.alternative(&format!("{place}[{index}]"), value);
                all.iter().enumerate().map(one).collect()
            }
            Some(value) => Ok(vec![self.alternative(place, value)?]),
        }
    }

    /// Parses an alternative of `update`. A condition alone means the document before and after.
    fn alternative(&self, place: &str, value: &Value) -> Result<UpdateRule> {
        const PARTS: [&str; 4] = ["before", "after", "unchanged", "only"];
        if let Value::Object(members) = value
            && members.keys().any(|key| PARTS.contains(&key.as_str()))
        {
            check_members(place, members, &PARTS)?;
            if !members.contains_key("before") && !members.contains_key("after") {
                return refuse(
                    place,
                    "says nothing of who may; add `before`, as in {\"before\":\"@user\",\"only\":[\"likes\"]}",
                );
            }
            let condition = |part: &str| match members.get(part) {
                Some(value) => self.bounded(&format!("{place}.{part}"), value),
                None => Ok(Condition::Known(true)),
            };
            let paths = |part: &str| match members.get(part) {
                Some(value) => paths(&format!("{place}.{part}"), value).map(Some),
                None => Ok(None),
            };
            return Ok(UpdateRule {
                before: condition("before")?,
                after: condition("after")?,
                unchanged: paths("unchanged")?.unwrap_or_default(),
                only: paths("only")?,
            });
        }
        let condition = self.bounded(place, value)?;
        Ok(UpdateRule { before: condition.clone(), after: condition, unchanged: Vec::new(), only: None })
    }

    /// Parses who may read and who may write which fields.
    fn fields(&self, value: Option<&Value>) -> Result<(Reads, Writes)> {
        let (mut reads, mut writes) = (Reads::new(), Writes::new());
        let Some(value) = value else { return Ok((reads, writes)) };
        let fields = object("rules.fields", value)?;
        if fields.len() > MAX_MEMBERS {
            return refuse("rules.fields", format!("at most {MAX_MEMBERS} fields have a rule"));
        }
        for (name, value) in fields {
            let place = format!("rules.fields.{}", shorten(name));
            let members = object(&place, value)?;
            check_members(&place, members, &["read", "write"])?;
            if let Some(value) = members.get("read") {
                let place = format!("{place}.read");
                reads.insert(member_path(&place, name)?, self.read_of_field(&place, value)?);
            }
            if let Some(value) = members.get("write") {
                let rule = match value {
                    Value::String(word) if word == "create" => WriteRule::OnCreate,
                    value => WriteRule::If(self.bounded(&format!("{place}.write"), value)?),
                };
                writes.insert(path(&place, name)?, rule);
            }
        }
        let terms: usize = reads.values().map(Condition::terms).sum();
        if terms > MAX_TERMS {
            let message = format!("who may read which fields takes at most {MAX_TERMS} terms in all");
            return refuse("rules.fields", message);
        }
        Ok((reads, writes))
    }

    fn read_of_field(&self, place: &str, value: &Value) -> Result<Condition> {
        if *value == "create" {
            return refuse(place, "`create` is for `write`; whoever may read says true, false or a filter");
        }
        self.without_now(place, self.bounded(place, value)?)
    }

    fn stamps(&self, value: Option<&Value>, action: RuleAction) -> Result<Stamps> {
        let Some(value) = value else { return Ok(Stamps::default()) };
        let Some(value) = object("rules.stamp", value)?.get(action.as_str()) else {
            return Ok(Stamps::default());
        };
        let place = format!("rules.stamp.{action}");
        let fields = object(&place, value)?;
        if fields.len() > MAX_MEMBERS {
            return refuse(&place, format!("at most {MAX_MEMBERS} fields are stamped"));
        }
        let stamp = |(name, value): (&String, &Value)| {
            let place = format!("{place}.{}", shorten(name));
            Ok((member_path(&place, name)?, template(&place, value)?))
        };
        Ok(Stamps(fields.iter().map(stamp).collect::<Result<_>>()?))
    }
}
