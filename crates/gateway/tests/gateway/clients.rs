//! The gateway as a well-behaved client sees it.

use crate::support::{Gateway, bounded};
use baton_model::errors::ErrorCode;
use mysql_async::consts::ColumnType as Code;
use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, Conn, Error, Params, Row, Value};

fn server_error<T: std::fmt::Debug>(outcome: Result<T, Error>) -> (u16, String, String) {
    match outcome {
        Err(Error::Server(error)) => (error.code, error.state, error.message),
        other => panic!("expected an error of the server, got {other:?}"),
    }
}

#[tokio::test]
async fn passwords_decide_who_comes_in() {
    let gateway = Gateway::open().await;
    for (user, password, admitted) in [
        ("root", None, true),
        ("root", Some("x"), false),
        ("ann", Some("secret"), true),
        ("ann", Some("Secret"), false),
        ("ann", None, false),
        ("nobody", None, false),
        ("nobody", Some("secret"), false),
        ("", None, false),
    ] {
        let options = gateway.options().user(Some(user)).pass(password);
        let outcome = bounded(Conn::new(options)).await;
        if admitted {
            bounded(outcome.unwrap().disconnect()).await.unwrap();
            continue;
        }
        let using = if password.is_some() { "YES" } else { "NO" };
        let text = format!("Access denied for user '{user}'@'127.0.0.1' (using password: {using})");
        assert_eq!(server_error(outcome), (1045, "28000".into(), text));
    }
    gateway.close().await;
}

#[tokio::test]
async fn every_type_arrives_in_both_protocols() {
    let gateway = Gateway::open().await;
    let mut client = gateway.connect().await;
    let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
    let expected = vec![
        Value::Int(1),
        Value::Int(-128),
        Value::Int(255),
        Value::Int(-32_768),
        Value::Int(-8_388_608),
        Value::Int(-2_147_483_648),
        Value::Int(4_294_967_295),
        Value::Int(i64::MIN),
        Value::UInt(u64::MAX),
        Value::Float(1.5),
        Value::Double(-0.1),
        bytes("-1234.567"),
        bytes("käse"),
        bytes("日本🎉"),
        bytes("it's"),
        Value::Bytes(vec![0, 255, 39]),
        Value::Bytes(vec![254; 3]),
        Value::Date(2024, 1, 2, 0, 0, 0, 0),
        Value::Date(2024, 1, 2, 3, 4, 5, 6),
        Value::Date(2024, 1, 2, 3, 4, 5, 0),
        Value::Date(2024, 1, 2, 0, 0, 0, 0),
        bytes("{\"a\": 1}"),
    ];
    let rows: Vec<Row> = bounded(client.exec("TYPES", ())).await.unwrap();
    let columns = rows[0].columns();
    let values: Vec<Vec<Value>> = rows.into_iter().map(Row::unwrap).collect();
    assert_eq!(values, [expected.clone(), vec![Value::NULL; expected.len()]]);

    let column = |name: &str| columns.iter().find(|column| column.name_str() == name).unwrap();
    assert_eq!((column("money").column_type(), column("money").decimals()), (Code::MYSQL_TYPE_NEWDECIMAL, 3));
    assert_eq!((column("flag").column_type(), column("flag").column_length()), (Code::MYSQL_TYPE_TINY, 1));
    assert_eq!((column("blob").column_type(), column("blob").character_set()), (Code::MYSQL_TYPE_BLOB, 63));
    assert_eq!((column("prose").column_type(), column("prose").character_set()), (Code::MYSQL_TYPE_BLOB, 45));
    assert_eq!(
        (column("word").column_type(), column("word").column_length()),
        (Code::MYSQL_TYPE_VAR_STRING, 80)
    );
    assert_eq!((column("at").column_type(), column("at").decimals()), (Code::MYSQL_TYPE_DATETIME, 6));

    let texts: Vec<Row> = bounded(client.query("TYPES")).await.unwrap();
    let texts: Vec<Vec<Value>> = texts.into_iter().map(Row::unwrap).collect();
    assert_eq!(texts[1], vec![Value::NULL; expected.len()]);
    for (text, value) in texts[0].iter().zip(&expected) {
        let shown = match value {
            Value::Bytes(bytes) => bytes.clone(),
            Value::Date(.., 0, 0, 0, 0) => continue,
            Value::Date(..) => continue,
            other => other.as_sql(true).trim_matches('\'').as_bytes().to_vec(),
        };
        assert_eq!(*text, Value::Bytes(shown));
    }
    let dates = ["2024-01-02", "2024-01-02 03:04:05.000006", "2024-01-02 03:04:05", "2024-01-02 00:00:00"];
    assert_eq!(texts[0][17..21], dates.map(bytes));
    gateway.close().await;
}

#[tokio::test]
async fn parameters_of_every_type_arrive() {
    let gateway = Gateway::open().await;
    let mut client = gateway.connect().await;
    let sent = vec![
        Value::NULL,
        Value::Int(-5),
        Value::UInt(u64::MAX),
        Value::Float(0.5),
        Value::Double(1e300),
        Value::Bytes("käse".into()),
        Value::Bytes(vec![0xff, 0xfe]),
        Value::Date(2024, 1, 2, 3, 4, 5, 6),
        Value::Time(true, 1, 2, 3, 4, 0),
    ];
    let row: Row =
        bounded(client.exec_first("? ? ? ? ? ? ? ? ?", Params::Positional(sent))).await.unwrap().unwrap();
    let arrived: Vec<String> =
        mysql_async::from_row::<Row>(row).unwrap().into_iter().map(mysql_async::from_value).collect();
    let moment = crate::stage::MOMENT + 6;
    assert_eq!(
        arrived[1..],
        [
            "Null".to_owned(),
            "Int(-5)".into(),
            "UInt(18446744073709551615)".into(),
            "Double(0.5)".into(),
            "Double(1e300)".into(),
            "Text(\"käse\")".into(),
            "Bytes(2)".into(),
            format!("DateTime({moment})"),
            "Text(\"-26:03:04\")".into(),
        ]
    );
    gateway.close().await;
}

#[tokio::test]
async fn large_values_travel_both_ways() {
    let gateway = Gateway::open().await;
    let mut client = gateway.connect().await;
    let text: String = bounded(client.query_first("BYTES 1048576")).await.unwrap().unwrap();
    assert_eq!(text.len(), 1 << 20);
    let text: String = bounded(client.query_first("BYTES 16777300")).await.unwrap().unwrap();
    assert_eq!(text.len(), 16_777_300, "a row of two frames");
    let (_, arrived): (String, String) =
        bounded(client.exec_first("?", ("y".repeat(1 << 20),))).await.unwrap().unwrap();
    assert_eq!(arrived, "Text(1048576)");
    let (_, arrived): (String, String) =
        bounded(client.exec_first("?", ("y".repeat(17 << 20),))).await.unwrap().unwrap();
    assert_eq!(arrived, "Text(17825792)", "a command of two frames");
    let rows: Vec<i64> = bounded(client.query("ROWS 100000")).await.unwrap();
    assert_eq!((rows.len(), rows[99_999]), (100_000, 99_999));
    gateway.close().await;
}

#[tokio::test]
async fn errors_keep_their_number_state_and_text() {
    let gateway = Gateway::open().await;
    let mut client = gateway.connect().await;
    for code in ErrorCode::ALL {
        let outcome = bounded(client.query_drop(format!("FAIL {}", code.number()))).await;
        assert_eq!(server_error(outcome), (code.number(), code.sqlstate().into(), "as asked".into()));
    }
    let unfit = server_error(bounded(client.query_drop("WRONG")).await);
    assert_eq!((unfit.0, unfit.2.as_str()), (1105, "a date cannot be sent in column 'n' of type date"));
    bounded(client.ping()).await.unwrap();
    gateway.close().await;
}

#[tokio::test]
async fn what_a_statement_did_is_reported() {
    let gateway = Gateway::open().await;
    let mut client = gateway.connect().await;
    bounded(client.query_drop("SLEEP 1")).await.unwrap();
    assert_eq!((client.affected_rows(), client.last_insert_id()), (3, Some(300)));
    assert!(client.info().ends_with("slept well"), "{}", client.info());
    gateway.close().await;
}

#[tokio::test]
async fn databases_are_chosen_at_the_handshake_and_later() {
    let gateway = Gateway::open().await;
    let refused = bounded(Conn::new(gateway.options().db_name(Some("nowhere")))).await;
    assert_eq!(server_error(refused), (1049, "42000".into(), "Unknown database 'nowhere'".into()));
    let mut client = bounded(Conn::new(gateway.options().db_name(Some("shop")))).await.unwrap();
    let asked = "SELECT DATABASE()";
    assert_eq!(bounded(client.query_first::<String, _>(asked)).await.unwrap().as_deref(), Some("shop"));
    bounded(client.reset()).await.unwrap();
    assert_eq!(bounded(client.query_first::<String, _>(asked)).await.unwrap().as_deref(), Some("shop"));
    let mut client = gateway.connect().await;
    assert_eq!(bounded(client.query_first::<Option<String>, _>(asked)).await.unwrap(), Some(None));
    assert_eq!(server_error(bounded(client.query_drop("USE `nowhere`")).await).0, 1049);
    bounded(client.query_drop("USE shop")).await.unwrap();
    assert_eq!(bounded(client.query_first::<String, _>(asked)).await.unwrap().as_deref(), Some("shop"));
    gateway.close().await;
}

#[tokio::test]
async fn a_connection_can_change_its_user() {
    let gateway = Gateway::open().await;
    let mut client = gateway.connect().await;
    let ann = ChangeUserOpts::new().with_user(Some("ann".into())).with_pass(Some("secret".into()));
    bounded(client.change_user(ann)).await.unwrap();
    let user: Option<String> = bounded(client.query_first("SELECT USER()")).await.unwrap();
    assert_eq!(user.as_deref(), Some("ann@127.0.0.1"));
    let wrong = ChangeUserOpts::new().with_user(Some("ann".into())).with_pass(Some("wrong".into()));
    assert_eq!(server_error(bounded(client.change_user(wrong)).await).0, 1045);
    assert!(bounded(client.ping()).await.is_err(), "who fails is out");
    gateway.close().await;
}

#[tokio::test]
async fn prepared_statements_are_bounded_and_closed_ones_make_room() {
    let gateway = Gateway::open().await;
    let mut client = bounded(Conn::new(gateway.options().stmt_cache_size(0))).await.unwrap();
    let mut statements = Vec::new();
    for at in 0..1024 {
        statements.push(bounded(client.prep(format!("? {at}"))).await.unwrap());
    }
    assert_eq!(server_error(bounded(client.prep("one more")).await).0, 1118);
    bounded(client.close(statements.pop().unwrap())).await.unwrap();
    let statement = bounded(client.prep("one more ?")).await.unwrap();
    let row: Option<(String, String)> = bounded(client.exec_first(&statement, (7,))).await.unwrap();
    assert_eq!(row, Some(("one more ?".into(), "Int(7)".into())));
    gateway.close().await;
}

#[tokio::test]
async fn many_connections_are_served_and_one_too_many_is_told() {
    let gateway = Gateway::open_for(200).await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(gateway.connect().await);
    }
    let refused = bounded(Conn::new(gateway.options())).await;
    assert_eq!(server_error(refused).0, 1040);
    for client in &mut clients {
        bounded(client.query_drop("hello")).await.unwrap();
    }
    bounded(clients.pop().unwrap().disconnect()).await.unwrap();
    // The server notices the goodbye in its own time.
    bounded(async {
        while Conn::new(gateway.options()).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    gateway.close().await;
}

#[tokio::test]
async fn a_panic_costs_its_own_connection_only() {
    let gateway = Gateway::open().await;
    let (mut one, mut other) = (gateway.connect().await, gateway.connect().await);
    assert!(bounded(one.query_drop("PANIC")).await.is_err());
    bounded(other.query_drop("hello")).await.unwrap();
    gateway.assert_alive().await;
    gateway.close().await;
}
