//! Tests of rules without a server: parsing, and the logic of three values.

use std::{collections::HashMap, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    CallerKind, Condition, Missing, Reach, RuleAction, RuleSet, SetQuery, Stamps, UserValues, Values,
    condition::filter_of, variable::Template,
};
use crate::{
    domain::{Data, Document, DocumentId, Timestamp},
    query::parse::{parse_field, split_operator},
};

fn document(data: Value) -> Document {
    Document {
        id: DocumentId::from_stored("d"),
        data: Data::from_value(data).unwrap(),
        created_at: Timestamp(1),
        updated_at: Timestamp(1),
        version: 1,
    }
}

fn user(data: Value) -> Values {
    let user = UserValues { id: "ada".to_owned(), data: Some(Data::from_value(data).unwrap()) };
    Values { user: Some(user), ..Values::default() }
}

fn read(rule: Value) -> Condition {
    RuleSet::parse(json!({ "read": rule })).unwrap().read().clone()
}

fn error(rules: Value) -> String {
    RuleSet::parse(rules).unwrap_err().to_string()
}

#[test]
fn what_is_missing_denies_also_in_its_opposite() {
    let (own, nobodys) = (document(json!({"owner": "ada"})), document(json!({})));
    let (ada, guest) = (user(json!({})), Values::default());
    let rule = read(json!({"owner": "$user.id"}));
    assert!(rule.bind(&ada).unwrap().matches(&own));
    assert!(!rule.bind(&ada).unwrap().matches(&nobodys));
    for rule in [
        json!({"owner": "$user.id"}),
        json!({"$not": {"owner": "$user.id"}}),
        json!({"owner__ne": "$user.id"}),
    ] {
        let bound = read(rule.clone()).bind(&guest).unwrap();
        assert!(bound.is_nothing(), "{rule}: {bound:?}");
    }
    // Another alternative is enough.
    let rule = read(json!({"$or": [{"owner": "$user.id"}, {"public": true}]}));
    assert!(rule.bind(&guest).unwrap().matches(&document(json!({"public": true}))));
    let rule = read(json!({"$not": {"$or": [{"owner": "$user.id"}, {"public": true}]}}));
    assert!(rule.bind(&guest).unwrap().is_nothing());
}

#[test]
fn terms_on_the_caller_become_true_or_false() {
    let moderator = user(json!({"roles": ["moderator"], "profile": {"level": 3, "teams": ["a", "b"]}}));
    let rule = read(json!({"$user.roles__array_contains": "moderator"}));
    assert_eq!(rule.bind(&moderator).unwrap(), crate::query::Filter::all());
    assert!(rule.bind(&user(json!({"roles": []}))).unwrap().is_nothing());
    assert!(rule.bind(&Values::default()).unwrap().is_nothing());
    let rule = read(json!({"$user.profile.level__gte": 3, "team__in": "$user.profile.teams"}));
    assert!(rule.bind(&moderator).unwrap().matches(&document(json!({"team": "b"}))));
    assert!(!rule.bind(&moderator).unwrap().matches(&document(json!({"team": "c"}))));
    // A value that the operator does not take is unknown.
    let rule = read(json!({"team__in": "$user.profile.level"}));
    assert!(rule.bind(&moderator).unwrap().is_nothing());
    assert!(read(json!("@user")).bind(&Values::default()).unwrap().is_nothing());
}

#[test]
fn parameters_are_taken_by_value_and_by_hash() {
    let values = Values {
        params: Arc::new(serde_json::from_value(json!({"invite": "abc"})).unwrap()),
        ..Values::default()
    };
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let rule = read(json!({"inviteHash": "$paramHash.invite", "code": "$param.invite"}));
    let bound = rule.bind(&values).unwrap();
    assert!(bound.matches(&document(json!({"inviteHash": hash, "code": "abc"}))));
    assert!(!bound.matches(&document(json!({"inviteHash": hash, "code": "abd"}))));
    assert!(rule.bind(&Values::default()).unwrap().is_nothing());
}

#[test]
fn a_text_with_a_dollar_is_escaped() {
    assert_eq!(Template::parse(json!("\\$5")), Ok(Template::Fixed(json!("$5"))));
    assert!(Template::parse(json!("$5")).is_err());
    assert!(filter_of("price", json!("$5")).is_ok());
}

#[test]
fn a_set_of_another_collection_is_asked_for_and_then_compared() {
    let rule =
        read(json!({"team__in": {"$from": "members", "select": "team", "where": {"user": "$user.id"}}}));
    let ada = user(json!({}));
    let Err(Missing(missing)) = rule.bind(&ada) else { panic!() };
    let query = SetQuery {
        collection: "members".to_owned(),
        select: parse_field("team").unwrap(),
        filter: filter_of("user", json!("ada")).unwrap(),
    };
    assert_eq!(missing, std::slice::from_ref(&query));
    let with_set = |values: Vec<Value>| {
        let sets = Arc::new(HashMap::from([(query.clone(), Arc::from(values))]));
        Values { sets, ..ada.clone() }
    };
    let (red, none) = (document(json!({"team": "red"})), document(json!({})));
    let bound = rule.bind(&with_set(vec![json!("red"), json!("blue")])).unwrap();
    assert!(bound.matches(&red) && !bound.matches(&none));
    assert!(rule.bind(&with_set(vec![])).unwrap().is_nothing());
    // A guest is in no team for certain, and not for certain out of any.
    assert!(rule.bind(&Values::default()).unwrap().is_nothing());
    let rule =
        read(json!({"team__notin": {"$from": "members", "select": "team", "where": {"user": "$user.id"}}}));
    assert!(rule.bind(&with_set(vec![json!("blue")])).unwrap().matches(&red));
    assert!(rule.bind(&with_set(vec![])).unwrap().matches(&none));
    assert!(rule.bind(&Values::default()).unwrap().is_nothing());
}

#[test]
fn a_mistake_is_named_with_its_place() {
    for (rules, place, hint) in [
        (json!({"raed": true}), "`rules`", "did you mean `read`?"),
        (json!({"read": "@autor", "let": {"author": true}}), "`rules.read`", "@author"),
        (json!({"read": {"a": "$user.mail"}}), "`rules.read.a`", "$user.email"),
        (json!({"read": {"$or": [true, {"a__gtee": 1}]}}), "`rules.read.$or[1].a__gtee`", "gte"),
        (json!({"update": [true, {"before": true, "onyl": []}]}), "`rules.update[1]`", "`only`"),
        (json!({"update": [{"before": true, "only": "likes"}]}), "`rules.update[0].only`", "list"),
        (json!({"read": {"createdAt__lt": "$now"}}), "`rules.read`", "$now"),
        (json!({"let": {"a": "@b", "b": "@a"}}), "`rules.let", "levels"),
        (json!({"stamp": {"create": {"by": "$user"}}}), "`rules.stamp.create.by`", "$user.id"),
        (json!({"stamp": {"creat": {}}}), "`rules.stamp`", "create"),
        (json!({"fields": {"a": {"wirte": true}}}), "`rules.fields.a`", "write"),
        (json!({"fields": {"id": {"write": true}}}), "`rules.fields.id`", "data.id"),
        (json!({"fields": {"a.0": {"read": true}}}), "`rules.fields.a.0.read`", "list"),
        (json!({"fields": {"a": {"read": "create"}}}), "`rules.fields.a.read`", "`write`"),
        (json!({"fields": {"a": {"read": {"b__lt": "$now"}}}}), "`rules.fields.a.read`", "$now"),
        (json!({"read": {"a__startswith": ["$user.id"]}}), "`rules.read.a__startswith`", "string"),
        (json!({"read": {"a": {"$from": "b", "select": "c"}}}), "`rules.read.a`", "__in"),
        (json!({"read": {"a__in": {"$from": "b", "slect": "c"}}}), "`rules.read.a__in`", "`select`"),
        (json!({"read": 1}), "`rules.read`", "@user"),
        (json!({"read": {"$not": {"@banned": true}}}), "`rules.read.$not`", "stands alone"),
        (json!({"read": {"owner": "@user"}}), "`rules.read.owner`", "$user.id"),
        (json!({"read": {"owner__in": "$user.id"}}), "`rules.read.owner__in`", "a list"),
        (
            json!({"read": {"$user.roles__ne": "banned"}}),
            "`rules.read.$user.roles__ne`",
            "$user.roles__array_contains",
        ),
        (json!({"read": {"$user.id__gte": [1]}}), "`rules.read.$user.id__gte`", "`$user.id__gte`"),
        (
            json!({"read": {"$user.id__in": {"$from": "a", "select": "b"}}}),
            "`rules.read.$user.id__in`",
            "on the left",
        ),
        (json!({"update": {}}), "`rules.update`", "write true"),
        (json!({"update": [{"only": ["likes"]}]}), "`rules.update[0]`", "`before`"),
        (json!([]), "`rules`", "object"),
    ] {
        let message = error(rules.clone());
        assert!(message.contains(place) && message.contains(hint), "{rules}: {message}");
    }
    let many: Vec<_> = (0..101).map(|n| json!({"a": n})).collect();
    assert!(error(json!({"read": {"$or": many}})).contains("100 terms"));
    let one = json!({"read": {"$or": many[..51]}});
    assert!(error(json!({"fields": {"a": one, "b": one}})).contains("100 terms"));
}

#[test]
fn a_change_must_meet_every_part_of_an_alternative() {
    let rules = json!({"update": {"before": {"owner": "$user.id"}, "after": {"owner": "$user.id"}, "unchanged": ["team"], "only": ["likes", "meta.seen"]}});
    let rules = RuleSet::parse(rules).unwrap();
    let before = document(json!({"owner": "ada", "team": 1, "likes": 1, "meta": {"seen": 1, "x": 1}}));
    let check = |after: Value| {
        let outcome =
            rules.update()[0].check((&before, &document(after)), &Stamps::default(), &user(json!({})));
        outcome.unwrap().map_err(|unmet| unmet.as_str())
    };
    let after = json!({"owner": "ada", "team": 1, "likes": 2, "meta": {"seen": 2, "x": 1}});
    assert_eq!(check(after), Ok(()));
    assert_eq!(
        check(json!({"owner": "ada", "team": 2, "likes": 1, "meta": {"seen": 1, "x": 1}})),
        Err("unchanged")
    );
    assert_eq!(
        check(json!({"owner": "ada", "team": 1, "likes": 1, "meta": {"seen": 1, "x": 2}})),
        Err("only")
    );
    let others = document(json!({"owner": "bob"}));
    assert!(
        rules.update()[0].check((&others, &others), &Stamps::default(), &user(json!({}))).unwrap().is_err()
    );
}

/// A value of a term: a constant, or a variable of which the caller may have none.
fn term_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(vec![json!("ada"), json!("x"), json!(1), json!(2.5), json!(true), json!(null)]),
        prop::sample::select(vec![
            json!("$user.id"),
            json!("$user.email"),
            json!("$user.roles"),
            json!("$user.profile.team"),
            json!("$user.profile.level"),
            json!("$param.code"),
            json!("$paramHash.code"),
            json!(["$user.id", "x"]),
            json!(["x", "y"]),
        ]),
    ]
}

fn rule() -> impl Strategy<Value = Value> {
    let ending = prop::sample::select(vec![
        "",
        "__ne",
        "__in",
        "__notin",
        "__gt",
        "__lte",
        "__contains",
        "__array_contains",
        "__isnull",
    ]);
    let field = prop::sample::select(vec![
        "a",
        "b.c",
        "$user.id",
        "$user.roles",
        "$user.profile.level",
        "$param.code",
    ]);
    let term = (field, ending, term_value())
        .prop_map(|(field, ending, value)| json!({ format!("{field}{ending}"): value }));
    let leaf = prop_oneof![4 => term, 1 => prop::sample::select(vec![json!(true), json!(false), json!("@user"), json!("@named")])];
    leaf.prop_recursive(3, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|all| json!({ "$and": all })),
            prop::collection::vec(inner.clone(), 0..4).prop_map(|any| json!({ "$or": any })),
            inner.prop_map(|one| json!({ "$not": one })),
        ]
    })
}

fn caller() -> impl Strategy<Value = Values> {
    let data = prop::sample::select(vec![
        json!({}),
        json!({ "email": "x", "roles": [] }),
        json!({ "email": "ada", "roles": ["x", "ada"], "profile": { "team": "x", "level": 2 } }),
        json!({ "roles": ["y"], "profile": { "team": null, "level": "x" } }),
    ]);
    let params = prop::sample::select(vec![json!({}), json!({ "code": "x" }), json!({ "code": 1 })]);
    (prop::option::of(data), params).prop_map(|(data, params)| Values {
        params: Arc::new(serde_json::from_value(params).unwrap()),
        ..data.map(user).unwrap_or_default()
    })
}

fn judged() -> impl Strategy<Value = Document> {
    prop::sample::select(vec![
        json!({}),
        json!({ "a": "ada", "b": { "c": "x" } }),
        json!({ "a": ["ada", "x"], "b": { "c": 1 } }),
        json!({ "a": 2, "b": { "c": null } }),
        json!({ "a": "xx", "b": [] }),
    ])
    .prop_map(document)
}

/// Judges a rule as its text says, one term after the other; `None` is unknown.
fn judge(rule: &Value, values: &Values, document: &Document) -> Option<bool> {
    let all = |members: &mut dyn Iterator<Item = Option<bool>>| {
        let members: Vec<_> = members.collect();
        if members.contains(&Some(false)) {
            Some(false)
        } else {
            members.into_iter().collect::<Option<Vec<_>>>().map(|_| true)
        }
    };
    match rule {
        Value::Bool(holds) => Some(*holds),
        Value::String(name) if name == "@user" => Some(values.user.is_some()),
        // The test below names it.
        Value::String(_) => judge(&json!({ "a": "$user.id" }), values, document),
        Value::Object(members) => all(&mut members.iter().map(|(key, value)| match (key.as_str(), value) {
            ("$and", Value::Array(members)) => {
                all(&mut members.iter().map(|one| judge(one, values, document)))
            }
            ("$or", Value::Array(members)) => {
                all(&mut members.iter().map(|one| judge(one, values, document).map(|holds| !holds)))
                    .map(|none| !none)
            }
            ("$not", inner) => judge(inner, values, document).map(|holds| !holds),
            (key, value) => {
                let value = Template::parse(value.clone()).unwrap().fill(values)?;
                let (name, ending) = split_operator(key);
                if !name.starts_with('$') {
                    return Some(filter_of(key, value).ok()?.matches(document));
                }
                let own = Template::parse(json!(name)).unwrap().fill(values)?;
                let caller = super::tests::document(json!({ "own": own }));
                Some(filter_of(&format!("own{ending}"), value).ok()?.matches(&caller))
            }
        })),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    /// The reach of a rule is a bound of what it admits, whoever asks.
    #[test]
    fn a_rule_reaches_at_least_as_far_as_it_admits(rule in rule(), values in caller(), document in judged()) {
        let rules = json!({ "let": { "named": { "a": "$user.id" } }, "read": rule.clone() });
        if let Ok(rules) = RuleSet::parse(rules) {
            let kind = if values.user.is_some() { CallerKind::User } else { CallerKind::Guest };
            let reach = rules.reach(RuleAction::Read, kind);
            let admits = rules.read().bind(&values).unwrap().matches(&document);
            let wrong = if admits { Reach::None } else { Reach::All };
            prop_assert_ne!(reach, wrong, "{} {:?} admits: {}", rule, values, admits);
        }
    }

    #[test]
    fn a_bound_rule_admits_exactly_what_is_true_for_certain(rule in rule(), values in caller(), document in judged()) {
        let rules = json!({ "let": { "named": { "a": "$user.id" } }, "read": rule.clone() });
        // Some constants fit no operator.
        if let Ok(rules) = RuleSet::parse(rules) {
            let expected = judge(&rule, &values, &document) == Some(true);
            let bound = rules.read().bind(&values).unwrap();
            prop_assert_eq!(bound.matches(&document), expected, "{} {:?}", rule, bound);
        }
    }
}
