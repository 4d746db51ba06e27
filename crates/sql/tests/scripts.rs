//! Scripts of statements, with what each answers.

mod world;

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use baton_model::{ColumnType, Datum};
use world::{Answer, World};

/// A line of a script is a statement behind `>`.
struct Sql(String);

impl TryFrom<&goldenscript::Command> for Sql {
    type Error = Box<dyn Error>;

    fn try_from(command: &goldenscript::Command) -> Result<Self, Self::Error> {
        Ok(Self(command.name.clone()))
    }
}

struct Script(World);

impl goldenscript::Runner for Script {
    type Command = Sql;

    fn run(&mut self, command: &Sql, _context: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        let mut out = String::new();
        // `parse …` prints the statement, `general …` plans what has a shortcut.
        if let Some(sql) = command.0.strip_prefix("parse ") {
            match baton_sql::parse(sql) {
                Ok(statement) => writeln!(out, "{statement:?}")?,
                Err(error) => writeln!(out, "{error}")?,
            }
            return Ok(out);
        }
        // `as …` goes on as another user.
        if let Some(user) = command.0.strip_prefix("as ") {
            self.0.session.user = format!("{user}@localhost");
            return Ok(out);
        }
        let answer = match command.0.strip_prefix("general ") {
            Some(sql) => self.0.general(sql).map(Answer::Rows),
            None => self.0.run(&command.0),
        };
        match answer {
            Ok(Answer::Done { affected, matched }) if affected == matched => {
                writeln!(out, "{affected} affected")?
            }
            Ok(Answer::Done { affected, matched }) => writeln!(out, "{affected} affected of {matched}")?,
            Ok(Answer::Rows(result)) => {
                let heads: Vec<String> =
                    result.columns.iter().map(|(name, of)| format!("{name} {of}")).collect();
                writeln!(out, "{}", heads.join(" | "))?;
                // Of a plan only the scans are ours; the rest depends on the number of processors.
                let explains = command.0.starts_with("EXPLAIN");
                for row in result.rows {
                    let is_scan = matches!(row.as_slice(), [Datum::Text(line)] if line.contains("LeafScans"));
                    if explains && !is_scan {
                        continue;
                    }
                    let cells: Vec<String> =
                        row.iter().zip(&result.columns).map(|(datum, (_, of))| cell(datum, *of)).collect();
                    writeln!(out, "  {}", cells.join(" | "))?;
                }
            }
            Err(error) => writeln!(out, "{error}")?,
        }
        Ok(out)
    }
}

/// A datum as it reads best.
fn cell(datum: &Datum, of: ColumnType) -> String {
    match (datum, of) {
        (Datum::Decimal(v), ColumnType::Decimal { scale, .. }) => {
            let digits = format!("{:0>width$}", v.unsigned_abs(), width = usize::from(scale) + 1);
            let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
            let point = if scale > 0 { "." } else { "" };
            format!("{}{whole}{point}{fraction}", if *v < 0 { "-" } else { "" })
        }
        (Datum::Bytes(bytes), _) => bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
        (Datum::Text(text), _) => text.clone(),
        (other, _) => other.to_string(),
    }
}

fn run(path: &Path) {
    let world = if path.ends_with("world") { World::new() } else { World::with_shop() };
    goldenscript::run(&mut Script(world), path).unwrap();
}

test_each_file::test_each_path! { in "./crates/sql/tests/scripts" as script => run }
