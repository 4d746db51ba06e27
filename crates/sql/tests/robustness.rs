//! Whatever a client sends: an answer or an error. No panic, no overflow of a small stack, no long wait.

mod world;

use std::time::{Duration, Instant};

use baton_model::Datum;
use baton_model::errors::ErrorCode;
use baton_sql::limits::{
    CHAIN_MAX, DEPTH_MAX, JOIN_TABLES_MAX, NESTING_MAX, SELECTS_MAX, SET_OPERATIONS_MAX,
};
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
        include_str!("scripts/numbers"),
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

/// Half of what tokio's threads have: the frames of an unoptimized build are about twice as large.
const STACK_BYTES: usize = 1 << 20;

/// Runs it on a small stack, and tells how long it took.
fn run_small(sql: String) -> (Result<Answer, baton_model::errors::SqlError>, Duration) {
    let work = move || {
        let mut world = World::with_shop();
        world.run("CREATE TABLE t (a INT PRIMARY KEY, b INT)").unwrap();
        world.run("INSERT INTO t VALUES (1, 1), (2, 2)").unwrap();
        let start = Instant::now();
        let result = world.run(&sql);
        (result, start.elapsed())
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap().join().unwrap()
}

/// `((1 + 1 + 1) + 1 + 1)`: so many levels of so many operators each.
fn nested_chains(term: &str, levels: usize, operators: usize) -> String {
    let chain = format!(" + {term}").repeat(operators);
    format!("{}{term}{}", "(".repeat(levels), format!("{chain})").repeat(levels))
}

/// So many tables of a WITH, each from the one before it.
fn tables_of_tables(select: &str, count: usize) -> String {
    let tables: Vec<String> = (1..count).map(|n| format!("t{n} (x) AS ({select} t{})", n - 1)).collect();
    format!("WITH t0 (x) AS (SELECT b FROM t), {} SELECT * FROM t{}", tables.join(", "), count - 1)
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
        format!("SELECT a{} FROM t", " IS NULL".repeat(CHAIN_MAX)),
        format!("DELETE FROM t WHERE a{}", " IN (1)".repeat(CHAIN_MAX)),
        format!("SELECT a FROM t WHERE {}", chain("b", " / ", CHAIN_MAX)),
        format!("SELECT a FROM t WHERE {}", chain("b", " & ", CHAIN_MAX)),
        // Rows of operators within each other, as deep as both together may be.
        format!("SELECT {}", nested_chains("1", 40, DEPTH_MAX / 40 - 1)),
        format!("SELECT {} FROM t", nested_chains("b", 40, DEPTH_MAX / 40 - 1)),
        format!("SELECT {} FROM t", nested_chains("b", 2, DEPTH_MAX / 2 - 1)),
        format!("SELECT a FROM t WHERE {} > 1", nested_chains("b", 39, DEPTH_MAX / 40 - 1)),
        format!("UPDATE t SET b = {0} WHERE {0} > 1", nested_chains("b", 31, DEPTH_MAX / 40 - 1)),
        format!("INSERT INTO t VALUES (7, {})", nested_chains("1", 39, DEPTH_MAX / 40 - 1)),
        format!("DELETE FROM t WHERE b IN ({})", vec![nested_chains("a", 20, 7); 50].join(", ")),
        tables_of_tables("SELECT x + 1 AS x FROM", 100),
        tables_of_tables("SELECT DISTINCT x FROM", SELECTS_MAX - 10),
        (0..SET_OPERATIONS_MAX).map(|_| "SELECT a FROM t UNION ALL ").collect::<String>() + "SELECT a FROM t",
        format!(
            "SELECT COUNT(*) FROM {}",
            (0..12).map(|n| format!("t AS t{n}")).collect::<Vec<_>>().join(", ")
        ),
    ] {
        let short = sql.chars().take(80).collect::<String>();
        let (result, took) = run_small(sql.clone());
        // Some of it is out of range for an INT; what counts is that there is an answer.
        if let Err(error) = &result {
            let known = [ErrorCode::OutOfRange, ErrorCode::ExpressionOutOfRange];
            assert!(known.contains(&error.code), "{short}: {error}");
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
        format!("SELECT a{} FROM t", " AT TIME ZONE 'UTC'".repeat(many)),
        format!("SELECT a{} FROM t", " MEMBER OF (a)".repeat(many)),
        format!("SELECT a{} FROM t", " SIMILAR TO a".repeat(many)),
        format!("SELECT a{} FROM t", " @ a".repeat(many)),
        format!("SELECT a{} FROM t", "::INT".repeat(many)),
        // Rows of operators within each other.
        format!("SELECT {}", nested_chains("1", 40, 250)),
        format!("SELECT {}", nested_chains("1", 2, 250)),
        format!("SELECT {} FROM t", nested_chains("b", 60, 200)),
        format!("DELETE FROM t WHERE {}", nested_chains("b", 40, 250)),
        format!("SELECT ABS(1{0}), ABS(ABS(1{0}){0})", " + 1".repeat(200)),
        format!("SELECT x{0}, 1 FROM (SELECT a{0} AS x, a FROM t) AS inside, t", " + 1".repeat(200)),
        format!("SELECT x{0}, 1 FROM ((SELECT a{0} AS x, a FROM t)) AS inside, t", " + 1".repeat(200)),
        tables_of_tables(&format!("SELECT x{} FROM", " + x".repeat(200)), 10),
        tables_of_tables("SELECT DISTINCT x FROM", 1000),
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

#[test]
fn columns_are_known_before_a_statement_is_carried_out() {
    let mut world = World::with_shop();
    world.run("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40), d DOUBLE)").unwrap();
    for (sql, columns) in [
        ("SELECT id, v AS V FROM t WHERE id = ?", Some("id int, V varchar(40)")),
        ("SELECT 1, ?, 'x'", Some("1 bigint, ? varchar(0), x varchar(1)")),
        ("SELECT COUNT(*), SUM(d) s FROM t WHERE v LIKE ? AND d > ?", Some("COUNT(*) bigint, s double")),
        ("SELECT * FROM t WHERE d IN (?, ?) ORDER BY v LIMIT ?", Some("id int, v varchar(40), d double")),
        ("SELECT id + ? FROM t WHERE v = ? UNION SELECT 1", Some("id + ? bigint")),
        ("SELECT id FROM t WHERE d BETWEEN ? AND ? LIMIT ?, ?", Some("id int")),
        ("SHOW TABLES", Some("Tables_in_shop varchar(512)")),
        ("SHOW LEAVES", None),
        ("INSERT INTO t VALUES (?, ?, ?)", None),
        ("DELETE FROM t WHERE id = ?", None),
        ("SET @a = ?", None),
        ("SELECT nothing FROM t", None),
    ] {
        let found = world.columns(sql).map(|columns| {
            columns.iter().map(|(name, of)| format!("{name} {of}")).collect::<Vec<_>>().join(", ")
        });
        assert_eq!(found.as_deref(), columns, "{sql}");
    }
}

#[test]
fn a_session_can_be_sent() {
    let mut world = World::with_shop();
    world.run("SET @a = 1.50, @b = 'text', autocommit = 0").unwrap();
    let bytes = postcard::to_stdvec(&world.session).unwrap();
    let sent: baton_sql::Session = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(sent.user_variables, world.session.user_variables);
    assert_eq!((&sent.database, &sent.variables), (&world.session.database, &world.session.variables));
    assert!(sent.has_autocommit_off());
}

#[test]
fn a_parameter_that_is_text_names_one_row_of_a_key_of_integers() {
    let mut world = World::with_shop();
    world.run("CREATE TABLE t (id BIGINT PRIMARY KEY)").unwrap();
    world
        .run("INSERT INTO t VALUES (1234567890123456788), (1234567890123456789), (1234567890123456790)")
        .unwrap();
    let delete = parse("DELETE FROM t WHERE id = ?").unwrap();
    let deleted = substitute(&delete, &[Datum::Text("1234567890123456789".into())]).unwrap();
    assert!(matches!(world.execute(&deleted).unwrap(), Answer::Done { affected: 1, .. }));
    let set = substitute(&parse("SET @a = ?").unwrap(), &[Datum::Text("007".into())]).unwrap();
    world.execute(&set).unwrap();
    let Answer::Rows(result) = world.run("SELECT @a").unwrap() else { panic!("a query has rows") };
    assert_eq!(result.rows, [[Datum::Text("007".into())]]);
}
