//! Twenty real questions about 3201 films. Plain Rust over the file gives each answer a second time.

use std::{cmp::Ordering, collections::BTreeMap, fs};

use serde_json::{Value, json};

use crate::harness::{TestApp, on_both_databases, path_with};

/// Returns the films of the file. Each gets its place as `n` and its date, if it has one, in ISO form as `released`.
fn films() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node_modules/vega-datasets/data/movies.json");
    let text = fs::read_to_string(path).expect("tests/run --set-up installs what the tests need");
    let mut films: Vec<Value> = serde_json::from_str(&text).unwrap();
    for (place, film) in films.iter_mut().enumerate() {
        film["n"] = place.into();
        if let Some(date) = film["Release Date"].as_str().and_then(date) {
            film["released"] = date.into();
        }
    }
    films
}

/// Converts a date: `Jun 12 1998` → `1998-06-12`.
fn date(text: &str) -> Option<String> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let [month, day, year] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    Some(format!("{year}-{month:02}-{:02}", day.parse::<u8>().ok()?))
}

fn number(film: &Value, field: &str) -> Option<f64> {
    film[field].as_f64()
}

fn text<'a>(film: &'a Value, field: &str) -> &'a str {
    film[field].as_str().unwrap_or_default()
}

/// Compares two values as a sort does: null and missing come first, then numbers, then strings.
fn compare(one: &Value, two: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Number(_) => 1,
        _ => 2,
    };
    rank(one).cmp(&rank(two)).then_with(|| match (one, two) {
        (Value::Number(one), Value::Number(two)) => {
            one.as_f64().unwrap().partial_cmp(&two.as_f64().unwrap()).unwrap()
        }
        (Value::String(one), Value::String(two)) => one.cmp(two),
        _ => Ordering::Equal,
    })
}

async fn write(app: &TestApp, films: &[Value]) {
    for batch in films.chunks(500) {
        let answer = app.post("/collections/films/batch", json!({ "documents": batch })).await;
        assert_eq!(answer.status, 201, "{:?}", answer.error());
    }
}

async fn ask(app: &TestApp, what: &str, parameters: &[(&str, &str)]) -> Value {
    let answer = app.get(&path_with(&format!("/collections/films{what}"), parameters)).await;
    assert_eq!(answer.status, 200, "{what} {parameters:?}: {answer:?}");
    answer.body
}

/// Reads all pages of a list and returns the places of its films.
async fn places(app: &TestApp, parameters: &[(&str, &str)], limit: &str) -> Vec<usize> {
    let (mut places, mut after) = (Vec::new(), String::new());
    loop {
        let mut parameters = [parameters, &[("limit", limit), ("select", "n")]].concat();
        if !after.is_empty() {
            parameters.push(("after", &after));
        }
        let page = ask(app, "", &parameters).await;
        let found = page["data"].as_array().unwrap().iter();
        places.extend(found.map(|film| film["data"]["n"].as_u64().unwrap() as usize));
        match page["nextCursor"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return places,
        }
    }
}

fn close(one: &Value, two: f64) -> bool {
    one.as_f64().is_some_and(|one| (one - two).abs() <= two.abs() * 1e-12)
}

type Question = (&'static str, Vec<(&'static str, &'static str)>, fn(&Value) -> bool);

/// Returns the questions whose answer is a set of films.
fn questions() -> Vec<Question> {
    vec![
        ("1. dramas rated above 8", vec![("Major Genre", "Drama"), ("IMDB Rating__gt", "8")], |film| {
            text(film, "Major Genre") == "Drama"
                && number(film, "IMDB Rating").is_some_and(|rating| rating > 8.0)
        }),
        ("2. titles with `star` in them", vec![("Title__contains", "STAR")], |film| {
            text(film, "Title").to_lowercase().contains("star")
        }),
        ("3. released before 1970", vec![("released__lt", "1970-01-01")], |film| {
            film["released"].is_string() && text(film, "released") < "1970-01-01"
        }),
        ("4. rated G or PG, by an in-list", vec![("MPAA Rating_in", "G, PG")], |film| {
            matches!(text(film, "MPAA Rating"), "G" | "PG")
        }),
        (
            "5. horror films, or films that earned almost nothing",
            vec![("[or]Major Genre", "Horror"), ("[or]Worldwide Gross__lt", "1000")],
            |film| {
                text(film, "Major Genre") == "Horror"
                    || number(film, "Worldwide Gross").is_some_and(|gross| gross < 1000.0)
            },
        ),
        (
            "6. neither comedy nor drama, but of a known genre",
            vec![(
                "filters",
                r#"{"$not":{"Major Genre__in":["Comedy","Drama"]},"Major Genre__isnull":false}"#,
            )],
            |film| !film["Major Genre"].is_null() && !matches!(text(film, "Major Genre"), "Comedy" | "Drama"),
        ),
        ("7. no rating at IMDB", vec![("IMDB Rating__isnull", "true")], |film| film["IMDB Rating"].is_null()),
        (
            "8. films by an unknown director, or by Spielberg",
            vec![("filters", r#"{"$or":[{"Director":null},{"Director":"Steven Spielberg"}]}"#)],
            |film| film["Director"].is_null() || film["Director"] == "Steven Spielberg",
        ),
        (
            "9. titles that begin with `the` and end with `man`",
            vec![("Title__startswith", "the "), ("Title_endswith", "MAN")],
            |film| {
                let title = text(film, "Title").to_lowercase();
                title.starts_with("the ") && title.ends_with("man")
            },
        ),
        (
            "10. summers of the nineties with a budget from 50 to 100 million",
            vec![
                ("released__gte", "1990-01-01"),
                ("released__lt", "2000-01-01"),
                ("[or:summer]released__contains", "-06-"),
                ("[or:summer]released__contains", "-07-"),
                ("[or:summer]released__contains", "-08-"),
                ("Production Budget__gte", "50000000"),
                ("Production Budget__lte", "100000000"),
            ],
            |film| {
                let released = text(film, "released");
                ("1990-01-01".."2000-01-01").contains(&released)
                    && ["06", "07", "08"].contains(&&released[5..7])
                    && number(film, "Production Budget").is_some_and(|budget| (5e7..=1e8).contains(&budget))
            },
        ),
        (
            "11. title or director has the word king",
            vec![("Title__or__Director__contains", "king")],
            |film| {
                ["Title", "Director"].iter().any(|field| text(film, field).to_lowercase().contains("king"))
            },
        ),
        (
            "12. films that Warner Bros. did not distribute, unknown distributors included",
            vec![("Distributor__ne", "Warner Bros.")],
            |film| film["Distributor"] != "Warner Bros.",
        ),
    ]
}

on_both_databases! {
    async fn twenty_questions_to_the_films_have_the_answers_of_the_file(app: &TestApp) {
        let films = films();
        assert!(films.len() > 3000);
        write(app, &films).await;

        for (question, parameters, matches) in questions() {
            let expected: Vec<_> = (0..films.len()).filter(|place| matches(&films[*place])).collect();
            assert!(!expected.is_empty() && expected.len() < films.len(), "{question}");
            let asked = [&parameters[..], &[("orderBy", "n")]].concat();
            assert_eq!(places(app, &asked, "1000").await, expected, "{question}");
            let count = ask(app, "/query/count", &parameters).await;
            assert_eq!(count["data"]["count"], expected.len(), "{question}");
        }

        // These sorts have ties, nulls, titles that are numbers, and several fields. Their pages fit together.
        for (question, order, fields) in [
            ("13. the best first", "-IMDB Rating,n", vec![("IMDB Rating", true), ("n", false)]),
            ("14. by title", "Title,-n", vec![("Title", false), ("n", true)]),
            (
                "15. by genre, the latest first, and by gross",
                "Major Genre,-released,-Worldwide Gross,n",
                vec![("Major Genre", false), ("released", true), ("Worldwide Gross", true), ("n", false)],
            ),
        ] {
            let mut expected: Vec<_> = (0..films.len()).collect();
            expected.sort_by(|one, two| {
                fields.iter().fold(Ordering::Equal, |order, (field, is_descending)| {
                    order.then_with(|| {
                        let order = compare(&films[*one][field], &films[*two][field]);
                        if *is_descending { order.reverse() } else { order }
                    })
                })
            });
            assert_eq!(places(app, &[("orderBy", order)], "700").await, expected, "{question}");
        }

        let best = ask(app, "", &[("orderBy", "-IMDB Rating,n"), ("limit", "3"), ("offset", "2"), ("select", "Title,IMDB Rating")]).await;
        let mut ranked: Vec<_> = films.iter().collect();
        ranked.sort_by(|one, two| compare(&two["IMDB Rating"], &one["IMDB Rating"]).then(compare(&one["n"], &two["n"])));
        let found: Vec<_> = best["data"].as_array().unwrap().iter().map(|film| film["data"].clone()).collect();
        let expected: Vec<_> = ranked[2..5].iter().map(|film| json!({ "Title": film["Title"], "IMDB Rating": film["IMDB Rating"] })).collect();
        assert_eq!(found, expected, "16. places three to five");

        let mut genres: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        for film in &films {
            genres.entry(film["Major Genre"].to_string()).or_default().push(film);
        }
        let groups = ask(app, "/query/group-by", &[("field", "Major Genre")]).await;
        let groups = groups["data"].as_array().unwrap();
        assert_eq!(groups.len(), genres.len(), "17. films of each genre");
        assert!(groups.is_sorted_by_key(|group| std::cmp::Reverse(group["count"].as_u64())), "{groups:?}");
        for group in groups {
            assert_eq!(group["count"], genres[&group["value"].to_string()].len(), "17. {group}");
        }

        let gross = |films: &[&Value]| films.iter().filter_map(|film| number(film, "Worldwide Gross")).collect::<Vec<_>>();
        let parameters = [("field", "Major Genre"), ("operation", "avg"), ("of", "Worldwide Gross")];
        let averages = ask(app, "/query/group-by", &parameters).await;
        for group in averages["data"].as_array().unwrap() {
            let gross = gross(&genres[&group["value"].to_string()]);
            let average = gross.iter().sum::<f64>() / gross.len() as f64;
            assert!(close(&group["result"], average), "18. average gross of each genre: {group}, not {average}");
        }

        let all: Vec<_> = films.iter().collect();
        let gross = gross(&all);
        for (operation, expected) in [
            ("sum", gross.iter().sum::<f64>()),
            ("avg", gross.iter().sum::<f64>() / gross.len() as f64),
            ("max", gross.iter().copied().fold(f64::MIN, f64::max)),
            ("count", gross.len() as f64),
        ] {
            let parameters = [("field", "Worldwide Gross"), ("operation", operation), ("Worldwide Gross__gte", "0")];
            let answer = ask(app, "/query/aggregate", &parameters).await;
            assert!(close(&answer["data"]["result"], expected), "19. {operation} of the gross: {answer}, not {expected}");
        }
        for operation in ["min", "max"] {
            let answer = ask(app, "/query/aggregate", &[("field", "Title"), ("operation", operation)]).await;
            let titles = films.iter().map(|film| &film["Title"]).filter(|title| !title.is_null());
            let expected = match operation {
                "min" => titles.min_by(|one, two| compare(one, two)),
                _ => titles.max_by(|one, two| compare(one, two)),
            };
            assert_eq!(&answer["data"]["result"], expected.unwrap(), "20. the {operation} of the titles");
        }
    }
}
