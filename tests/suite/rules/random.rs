//! Random rules, documents and changes, of a small world in which they often meet.

use serde_json::{Map, Value, json};

use crate::harness::dice::Dice;

const STATES: [&str; 2] = ["open", "closed"];
const TEAMS: [&str; 3] = ["red", "blue", "green"];
/// The parameter `code` that opens what has its SHA-256 in the field `hash`.
pub const CODE: &str = "abc";
const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Draws a rule set, most of whose actions have a rule.
pub fn rules(dice: &mut Dice) -> Value {
    let mut rules = Map::new();
    let mut add = |dice: &mut Dice, name: &str, rule: Value| {
        if dice.under(5) > 0 {
            rules.insert(name.to_owned(), rule);
        }
    };
    for action in ["read", "create", "delete"] {
        let rule = condition(dice, 2);
        add(dice, action, rule);
    }
    let update = match dice.under(4) {
        0 => condition(dice, 2),
        1 => alternative(dice),
        _ => (0..=dice.under(3)).map(|_| alternative(dice)).collect(),
    };
    add(dice, "update", update);
    if dice.under(4) == 0 {
        let write = match dice.under(3) {
            0 => json!("create"),
            1 => json!(false),
            _ => condition(dice, 1),
        };
        rules.insert("fields".to_owned(), json!({ "state": { "write": write } }));
    }
    if dice.under(4) == 0 {
        rules.insert("stamp".to_owned(), json!({ "create": { "owner": "$user.id" } }));
    } else if dice.under(4) == 0 {
        rules.insert("stamp".to_owned(), json!({ "update": { "by": "$user.id", "at": "$now" } }));
    }
    Value::Object(rules)
}

fn alternative(dice: &mut Dice) -> Value {
    let mut alternative = Map::new();
    match dice.under(3) {
        0 => alternative.insert("before".to_owned(), condition(dice, 1)),
        1 => alternative.insert("after".to_owned(), condition(dice, 1)),
        _ => {
            alternative.insert("before".to_owned(), condition(dice, 1));
            alternative.insert("after".to_owned(), condition(dice, 1))
        }
    };
    match dice.under(4) {
        0 => alternative.insert("only".to_owned(), json!(["n", "by"])),
        1 => alternative.insert("unchanged".to_owned(), json!(["state"])),
        _ => None,
    };
    Value::Object(alternative)
}

fn condition(dice: &mut Dice, depth: usize) -> Value {
    if depth > 0 && dice.under(3) == 0 {
        let members: Vec<_> = (0..=dice.under(3)).map(|_| condition(dice, depth - 1)).collect();
        return match dice.under(3) {
            0 => json!({ "$and": members }),
            1 => json!({ "$or": members }),
            _ => json!({ "$not": members[0] }),
        };
    }
    let own = json!({ "$from": "members", "select": "team", "where": { "user": "$user.id" } });
    match dice.under(13) {
        0 => json!(true),
        1 => json!(dice.under(2) == 0),
        2 => json!("@user"),
        3 => json!({ "owner": "$user.id" }),
        4 => json!({ "owner__ne": "$user.id" }),
        5 => json!({ "state": STATES[dice.under(2)] }),
        6 => json!({ "n__gt": dice.under(3) }),
        7 => json!({ "state": STATES[dice.under(2)], "n__lte": dice.under(3) }),
        8 => json!({ "$user.roles__array_contains": "editor" }),
        9 => json!({ "team__in": own }),
        10 => json!({ "team__notin": own }),
        11 => json!({ "hash": "$paramHash.code" }),
        _ => json!({ "$user.profile.level__gt": dice.under(2) }),
    }
}

/// Draws the data of a document. `owners` are the ids of the users.
pub fn data(dice: &mut Dice, owners: &[String]) -> Value {
    let mut data = Map::new();
    let mut add = |dice: &mut Dice, name: &str, value: Value| {
        if dice.under(5) > 0 {
            data.insert(name.to_owned(), value);
        }
    };
    let owner = json!(owners[dice.under(owners.len())]);
    add(dice, "owner", owner);
    let state = json!(STATES[dice.under(2)]);
    add(dice, "state", state);
    let n = json!(dice.under(4));
    add(dice, "n", n);
    let team = json!(TEAMS[dice.under(3)]);
    add(dice, "team", team);
    let hash = json!(if dice.under(2) == 0 { HASH } else { "none" });
    add(dice, "hash", hash);
    Value::Object(data)
}

/// Draws a change of a document.
pub fn patch(dice: &mut Dice, owners: &[String]) -> Value {
    match dice.under(4) {
        0 => json!({ "$inc": { "n": 1 } }),
        1 => json!({ "state": STATES[dice.under(2)] }),
        2 => json!({ "owner": owners[dice.under(owners.len())] }),
        _ => json!({ "title": "x", "n": dice.under(4) }),
    }
}
