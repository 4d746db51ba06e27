//! Whatever a client sends: an answer or an error. No panic, no overflow of a small stack, no long wait.

mod world;

use std::time::{Duration, Instant};

use baton_model::Datum;
use baton_model::errors::ErrorCode;
use baton_sql::limits::{CHAIN_MAX, JOIN_TABLES_MAX, NESTING_MAX, SET_OPERATIONS_MAX};
use baton_sql::{parameter_count, parse, substitute};
use proptest::prelude::*;
use world::{Answer, World};

/// Every statement of the scripts.
fn corpus() -> Vec<String> {
    let scripts = [
        include_str!("scripts/statements"),
        include_str!("scripts/tables"),
        include_str!("scripts/writes"),
        include_str!("scripts/queries"),
        include_str!("scripts/sessions"),
        include_str!("scripts/plans"),
    ];
    let lines = scripts.iter().flat_map(|script| script.lines()).filter_map(|line| line.strip_prefix("> "));
    lines.map(|line| line.trim_start_matches("parse ").trim_start_matches("general ").to_owned()).collect()
}

/// A statement of the scripts with some words taken out, doubled, exchanged or put in from another one.
fn mutated() -> impl Strategy<Value = String> {
    let corpus = corpus();
    let count = corpus.len();
    (0..count, 0..count, proptest::collection::vec((0_u8..5, any::<u16>(), any::<u16>()), 1..5)).prop_map(
        move |(statement, other, edits)| {
            let mut words: Vec<&str> = corpus[statement].split_inclusive([' ', ',', '(', ')']).collect();
            let others: Vec<&str> = corpus[other].split_inclusive([' ', ',', '(', ')']).collect();
            for (kind, at, from) in edits {
                let at = usize::from(at) % words.len().max(1);
                let to = usize::from(from) % words.len().max(1);
                match kind {
                    _ if words.is_empty() => break,
                    0 => drop(words.remove(at)),
                    1 => words.insert(at, words[at]),
                    2 => words.swap(at, to),
                    3 if !others.is_empty() => words.insert(at, others[usize::from(from) % others.len()]),
                    _ => words.truncate(at),
                }
            }
            words.concat()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_mutated_statement_makes_the_parser_panic(sql in mutated()) {
        if let Ok(statement) = parse(&sql) {
            let count = parameter_count(&statement);
            prop_assert!(substitute(&statement, &vec![Datum::Int(1); count]).is_ok());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_mutated_statement_breaks_the_engine(sql in mutated()) {
        let mut world = WORLD.with(std::cell::RefCell::take).unwrap_or_else(stocked);
        if let Err(error) = world.run(&sql) {
            prop_assert!(!error.message.contains("The query engine failed"), "{sql}: {error}");
        }
        world.session.database = Some("shop".into());
        WORLD.with(|kept| kept.replace(Some(world)));
    }
}

thread_local! {
    static WORLD: std::cell::RefCell<Option<World>> = const { std::cell::RefCell::new(None) };
}

fn stocked() -> World {
    let mut world = World::with_shop();
    for sql in corpus() {
        if sql.starts_with("CREATE") || sql.starts_with("INSERT") {
            let _ = world.run(&sql);
        }
    }
    world
}

/// Runs it on a stack of 2 MiB, as tokio's threads have, and tells how long it took.
fn run_small(sql: String) -> (Result<Answer, baton_model::errors::SqlError>, Duration) {
    let work = move || {
        let mut world = World::with_shop();
        world.run("CREATE TABLE t (a INT PRIMARY KEY, b INT)").unwrap();
        world.run("INSERT INTO t VALUES (1, 1), (2, 2)").unwrap();
        let start = Instant::now();
        let result = world.run(&sql);
        (result, start.elapsed())
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap()
}

#[test]
fn what_is_as_deep_as_allowed_works_on_a_small_stack() {
    let chain = |term: &str, operator: &str, count: usize| vec![term; count].join(operator);
    let nested = NESTING_MAX - 8;
    for sql in [
        format!("SELECT {}", chain("1", " + ", CHAIN_MAX)),
        format!("SELECT {} FROM t", chain("b", " + ", CHAIN_MAX)),
        format!("SELECT a FROM t WHERE {}", chain("b = 1", " OR ", CHAIN_MAX / 2)),
        format!("SELECT a FROM t WHERE {}", chain("b", " - ", CHAIN_MAX)),
        format!(
            "UPDATE t SET b = {} WHERE {}",
            chain("b", " * ", CHAIN_MAX / 2),
            chain("a", " + ", CHAIN_MAX / 2)
        ),
        format!("INSERT INTO t VALUES (7, {})", chain("1", " + ", CHAIN_MAX)),
        format!("SELECT {}1{}", "(".repeat(nested), ")".repeat(nested)),
        format!("SELECT {}b{} FROM t", "ABS(".repeat(nested / 2), ")".repeat(nested / 2)),
        format!("SELECT a FROM t WHERE a = {}1{}", "(SELECT ".repeat(nested / 3), ")".repeat(nested / 3)),
        format!("SELECT {}1{}", "- ".repeat(nested), ""),
        (0..SET_OPERATIONS_MAX).map(|_| "SELECT a FROM t UNION ALL ").collect::<String>() + "SELECT a FROM t",
        format!(
            "SELECT COUNT(*) FROM {}",
            (0..12).map(|n| format!("t AS t{n}")).collect::<Vec<_>>().join(", ")
        ),
    ] {
        let (result, took) = run_small(sql.clone());
        let short = sql.chars().take(80).collect::<String>();
        // Some of it is out of range for an INT; what counts is that there is an answer.
        if let Err(error) = &result {
            assert!(error.code == ErrorCode::OutOfRange, "{short}: {error}");
        }
        assert!(took < Duration::from_secs(20), "{short}: {took:?}");
    }
}

#[test]
fn what_is_deeper_is_refused() {
    let many = 100_000;
    for sql in [
        format!("SELECT {}1{}", "(".repeat(many), ")".repeat(many)),
        format!("SELECT {}1", "(".repeat(many)),
        format!("SELECT {}1", "NOT ".repeat(many)),
        format!("SELECT {}1", "- ".repeat(many)),
        format!("SELECT 1{}", " + 1".repeat(many)),
        format!("SELECT 1{}", " AND 1".repeat(many)),
        format!("SELECT 1{}", " UNION SELECT 1, 2".repeat(many)),
        format!("SELECT 1{}", " IS NULL".repeat(many)),
        format!("SELECT {}1{}", "CASE WHEN ".repeat(many), " THEN 1 END".repeat(many)),
        format!("SELECT {}", "CASE ".repeat(many)),
        format!("SELECT CAST(1 AS {}INT", "ARRAY<".repeat(many)),
        format!("SELECT * FROM {}t", "(".repeat(many)),
        format!("SELECT {}", "INTERVAL ".repeat(many)),
        format!("SELECT {}", "EXISTS ".repeat(many)),
        format!("SELECT * FROM t{}", " JOIN t".repeat(many)),
        format!("EXPLAIN {}", "EXPLAIN ".repeat(many)),
        format!("SELECT {}", "a.".repeat(many)),
        format!("SELECT a{}", "[1]".repeat(many)),
        format!("INSERT INTO t VALUES {}", "(".repeat(many)),
        format!("CREATE TABLE t (a {}", "INT ".repeat(many)),
        format!("WITH {}", "a AS (WITH ".repeat(many)),
        format!("SELECT * FROM t PIVOT{}", " PIVOT".repeat(many)),
    ] {
        let short = sql.chars().take(40).collect::<String>();
        let (result, took) = run_small(sql);
        let error = result.expect_err(&short);
        let known =
            [ErrorCode::ParseError, ErrorCode::NotSupported, ErrorCode::UnknownColumn, ErrorCode::TooBig];
        assert!(known.contains(&error.code), "{short}: {error}");
        assert!(took < Duration::from_secs(5), "{short}: {took:?}");
    }
    let tables = vec!["t"; JOIN_TABLES_MAX + 1].join(" NATURAL JOIN ");
    let (result, _) = run_small(format!("SELECT COUNT(*) FROM {tables}"));
    assert_eq!(result.unwrap_err().code, ErrorCode::TooBig);
}

#[test]
fn parameters_are_values_never_text() {
    let mut world = World::with_shop();
    world.run("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40), d DOUBLE, b BLOB)").unwrap();
    let insert = parse("INSERT INTO t VALUES (?, ?, ?, ?)").unwrap();
    assert_eq!(parameter_count(&insert), 4);
    let hostile = "'); DROP TABLE t; -- \\' ? \\";
    let row = vec![
        Datum::Int(-1),
        Datum::Text(hostile.into()),
        Datum::Double(0.1),
        Datum::Bytes(vec![0, 39, 92, 255]),
    ];
    let statement = substitute(&insert, &row).unwrap();
    world.execute(&statement).unwrap();
    let select = parse("SELECT * FROM t WHERE v = ? AND d < ? LIMIT ?").unwrap();
    let parameters = [Datum::Text(hostile.into()), Datum::Double(0.2), Datum::Int(5)];
    let Answer::Rows(result) = world.execute(&substitute(&select, &parameters).unwrap()).unwrap() else {
        panic!("a query has rows");
    };
    assert_eq!(result.rows, [row]);
    assert_eq!(substitute(&select, &parameters[..2]).unwrap_err().code, ErrorCode::WrongArguments);
}
