//! Sessions for tests and for the example: they answer a few statements of a play, and no SQL.
//!
//! `TYPES` one row of every type and one of NULLs · `ROWS n` · `BYTES n` a text of that length · `SLEEP ms` ·
//! `FAIL n` the error of that number · `PANIC` · `COMMIT` ·
//! `WRONG` a row that does not fit its column · `USE db` · `SELECT @@x,…` and others that clients send when they connect ·
//! anything else comes back as one row with its text.
//! A prepared statement answers with one row: how each of its values arrived. `TYPES` may be prepared too.
//! Users: `root` with no password, `ann` with `secret`. Databases: `shop`.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use baton_gateway::{Answer, AnswerColumn, Client, PasswordHash, PreparedShape, Session, Sessions};
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{ColumnType, Datum, Row};
use tokio::sync::watch;

/// Statements that sleep for a second or more at present.
static ASLEEP: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// Returns once so many statements sleep.
pub async fn until_asleep(count: usize) {
    let _ = ASLEEP.subscribe().wait_for(|asleep| *asleep >= count).await;
}

/// Opens [`Player`]s.
pub struct Stage;

/// One client's session.
pub struct Player {
    user: String,
    database: Option<String>,
}

impl Sessions for Stage {
    type Session = Player;

    fn password_hash(&self, user: &str) -> Option<PasswordHash> {
        match user {
            "root" => Some(PasswordHash::EMPTY),
            "ann" => Some(PasswordHash::of("secret")),
            _ => None,
        }
    }

    fn open(&self, client: &Client) -> Player {
        Player { user: format!("{}@{}", client.user, client.peer.ip()), database: None }
    }
}

/// 2024-01-02 as days since 1970.
pub const DAY: i32 = 19_724;
/// 2024-01-02 03:04:05 as microseconds since 1970.
pub const MOMENT: i64 = DAY as i64 * 86_400_000_000 + (3 * 3600 + 4 * 60 + 5) * 1_000_000;

/// Every type with a value of it.
pub fn every_type() -> Vec<(AnswerColumn, Datum)> {
    let int = |bits, unsigned| ColumnType::Int { bits, unsigned };
    [
        ("flag", ColumnType::Bool, Datum::Int(1)),
        ("tiny", int(8, false), Datum::Int(-128)),
        ("utiny", int(8, true), Datum::UInt(255)),
        ("small", int(16, false), Datum::Int(-32_768)),
        ("medium", int(24, false), Datum::Int(-8_388_608)),
        ("normal", int(32, false), Datum::Int(-2_147_483_648)),
        ("unormal", int(32, true), Datum::UInt(4_294_967_295)),
        ("big", int(64, false), Datum::Int(i64::MIN)),
        ("ubig", int(64, true), Datum::UInt(u64::MAX)),
        ("real4", ColumnType::Float, Datum::Double(1.5)),
        ("real8", ColumnType::Double, Datum::Double(-0.1)),
        ("money", ColumnType::Decimal { precision: 20, scale: 3 }, Datum::Decimal(-1_234_567)),
        ("fixed", ColumnType::Char(8), Datum::Text("käse".into())),
        ("word", ColumnType::Varchar(20), Datum::Text("日本🎉".into())),
        ("prose", ColumnType::Text, Datum::Text("it's".into())),
        ("raw", ColumnType::Varbinary(9), Datum::Bytes(vec![0, 255, 39])),
        ("blob", ColumnType::Blob, Datum::Bytes(vec![254; 3])),
        ("day", ColumnType::Date, Datum::Date(DAY)),
        ("at", ColumnType::DateTime, Datum::DateTime(MOMENT + 6)),
        ("at_second", ColumnType::DateTime, Datum::DateTime(MOMENT)),
        ("midnight", ColumnType::Timestamp, Datum::DateTime(i64::from(DAY) * 86_400_000_000)),
        ("doc", ColumnType::Json, Datum::Text("{\"a\": 1}".into())),
    ]
    .into_iter()
    .map(|(name, column_type, value)| (AnswerColumn::new(name, column_type), value))
    .collect()
}

fn types() -> Answer {
    let (columns, row): (Vec<_>, Row) = every_type().into_iter().unzip();
    let nulls = vec![Datum::Null; row.len()];
    Answer::Rows { columns, rows: vec![row, nulls] }
}

fn one(name: &str, column_type: ColumnType, rows: Vec<Datum>) -> Answer {
    let rows = rows.into_iter().map(|value| vec![value]).collect();
    Answer::Rows { columns: vec![AnswerColumn::new(name, column_type)], rows }
}

/// What a client wants to know of its connection.
fn variables(names: &str) -> Answer {
    let value = |name: &str| match name {
        "@@max_allowed_packet" => Datum::Int(64 << 20),
        "@@wait_timeout" => Datum::Int(28_800),
        _ => Datum::Null,
    };
    let names: Vec<&str> = names.split(',').map(str::trim).collect();
    Answer::Rows {
        columns: names.iter().map(|name| AnswerColumn::new(*name, BIGINT)).collect(),
        rows: vec![names.iter().map(|name| value(name)).collect()],
    }
}

const BIGINT: ColumnType = ColumnType::Int { bits: 64, unsigned: false };

#[async_trait]
impl Session for Player {
    async fn query(&mut self, sql: &str) -> Result<Answer, SqlError> {
        let (verb, argument) = sql.split_once(' ').unwrap_or((sql, ""));
        let number = argument.parse::<u32>().unwrap_or(0);
        match verb {
            "TYPES" => Ok(types()),
            "ROWS" => Ok(one("n", BIGINT, (0..i64::from(number)).map(Datum::Int).collect())),
            "BYTES" => Ok(one("text", ColumnType::Text, vec![Datum::Text("x".repeat(number as usize))])),
            "SLEEP" => {
                let long = usize::from(number >= 1000);
                ASLEEP.send_modify(|count| *count += long);
                tokio::time::sleep(Duration::from_millis(number.into())).await;
                ASLEEP.send_modify(|count| *count -= long);
                Ok(Answer::Done { affected_rows: 3, last_insert_id: 300, info: "slept well".into() })
            }
            "FAIL" => {
                let code = ErrorCode::ALL.iter().copied().find(|code| u32::from(code.number()) == number);
                Err(SqlError::new(code.unwrap_or(ErrorCode::UnknownError), "as asked"))
            }
            "COMMIT" => Ok(Answer::done()),
            "USE" => self.use_database(argument.trim_matches('`')).await.map(|()| Answer::done()),
            "SELECT" if argument.starts_with("@@") => Ok(variables(argument)),
            "SELECT" if argument == "USER()" => {
                Ok(one("USER()", ColumnType::Text, vec![Datum::Text(self.user.clone())]))
            }
            "SELECT" if argument == "DATABASE()" => {
                let name = self.database.clone().map_or(Datum::Null, Datum::Text);
                Ok(one("DATABASE()", ColumnType::Text, vec![name]))
            }
            "PANIC" => panic!("as asked"),
            "WRONG" => Ok(one("n", ColumnType::Date, vec![Datum::Date(i32::MAX)])),
            _ => Ok(one("statement", ColumnType::Text, vec![Datum::Text(sql.into())])),
        }
    }

    async fn use_database(&mut self, name: &str) -> Result<(), SqlError> {
        if name != "shop" {
            return Err(SqlError::new(ErrorCode::UnknownDatabase, format!("Unknown database '{name}'")));
        }
        self.database = Some(name.into());
        Ok(())
    }

    async fn prepare(&mut self, sql: &str) -> Result<PreparedShape, SqlError> {
        if sql == "TYPES" {
            let columns = every_type().into_iter().map(|(column, _)| column).collect();
            return Ok(PreparedShape { parameters: 0, columns });
        }
        Ok(PreparedShape { parameters: sql.matches('?').count(), columns: Vec::new() })
    }

    async fn execute(&mut self, sql: &str, parameters: &[Datum]) -> Result<Answer, SqlError> {
        if sql == "TYPES" {
            return Ok(types());
        }
        let columns =
            (0..=parameters.len()).map(|at| AnswerColumn::new(format!("p{at}"), ColumnType::Text)).collect();
        let mut row = vec![Datum::Text(sql.into())];
        row.extend(parameters.iter().map(|value| {
            let text = match value {
                Datum::Bytes(bytes) => format!("Bytes({})", bytes.len()),
                Datum::Text(text) if text.len() > 100 => format!("Text({})", text.len()),
                other => format!("{other:?}"),
            };
            Datum::Text(text)
        }));
        Ok(Answer::Rows { columns, rows: vec![row] })
    }

    fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }
}
