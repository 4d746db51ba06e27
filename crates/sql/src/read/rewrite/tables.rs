//! FROM: joins in the planner's words, and every table looked up before the planner asks for it.
//!
//! A sharded table becomes scans of its partitions; reference tables and those of `information_schema` are in memory.
//! What is not a table, a subquery or a join is refused, as are more tables than a join may have.
//!
//! Not here: rows of sharded tables. They are scanned when the query runs (`table.rs`).

use std::sync::Arc;

use baton_catalog::{GrantScope, Privilege};
use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{TableKind, decode_row};
use datafusion::arrow::array::RecordBatch;
use datafusion::datasource::{MemTable, TableProvider, provider_as_source};
use datafusion::sql::sqlparser::ast::{
    JoinConstraint, JoinOperator, ObjectName, Spanned, TableFactor, TableWithJoins,
};

use super::names::lower_last;
use super::{Done, Rewriter, Want};
use crate::bind::INFORMATION_SCHEMA;
use crate::leaf::{LeafScan, ScanRequest};
use crate::limits::{JOIN_TABLES_MAX, SCAN_CHUNK_ROWS};
use crate::parse::unsupported_at;
use crate::read::system::system_table;
use crate::read::table::ShardedTable;
use crate::session::ResultSet;
use crate::statement::TableName;

impl Rewriter<'_> {
    pub(super) fn table_with_joins(&mut self, table: &mut TableWithJoins) -> Done {
        self.table_factor(&mut table.relation)?;
        for join in &mut table.joins {
            self.table_factor(&mut join.relation)?;
            let operator = &mut join.join_operator;
            let constraint = match operator {
                JoinOperator::Join(constraint)
                | JoinOperator::Inner(constraint)
                | JoinOperator::CrossJoin(constraint)
                | JoinOperator::StraightJoin(constraint) => {
                    let mut constraint = constraint.clone();
                    self.constraint(&mut constraint)?;
                    // An inner join without a condition is a cross join, and the other way round.
                    *operator = match constraint {
                        JoinConstraint::None => JoinOperator::CrossJoin(JoinConstraint::None),
                        constraint => JoinOperator::Inner(constraint),
                    };
                    continue;
                }
                JoinOperator::Left(constraint)
                | JoinOperator::LeftOuter(constraint)
                | JoinOperator::Right(constraint)
                | JoinOperator::RightOuter(constraint) => constraint,
                _ => return Err(unsupported_at("this kind of join", join.relation.span().start)),
            };
            self.constraint(constraint)?;
        }
        Ok(())
    }

    fn constraint(&mut self, constraint: &mut JoinConstraint) -> Done {
        match constraint {
            JoinConstraint::On(condition) => self.expr(condition, Want::Truth)?,
            JoinConstraint::Using(names) => names.iter_mut().for_each(lower_last),
            JoinConstraint::Natural | JoinConstraint::None => {}
        }
        Ok(())
    }

    fn table_factor(&mut self, factor: &mut TableFactor) -> Done {
        if is_dual(factor) {
            return Ok(());
        }
        let place = factor.span().start;
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_hints,
                version: None,
                partitions,
                index_hints,
                ..
            } if partitions.is_empty() => {
                with_hints.clear();
                index_hints.clear();
                if let Some(alias) = alias {
                    self.alias(alias);
                }
                self.table(name)
            }
            TableFactor::Derived { subquery, alias, lateral: _, sample: None } => {
                if let Some(alias) = alias {
                    self.alias(alias);
                }
                self.query(subquery)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.table_with_joins(table_with_joins)
            }
            _ => Err(unsupported_at("this in FROM", place)),
        }
    }

    /// Looks a table up, unless WITH names it.
    fn table(&mut self, name: &mut ObjectName) -> Done {
        self.mentioned += 1;
        if self.mentioned > JOIN_TABLES_MAX {
            let text = format!("Too many tables; {JOIN_TABLES_MAX} can be used in a join");
            return Err(SqlError::new(ErrorCode::TooBig, text));
        }
        let place = name.span().start;
        let named = crate::parse::table_name(name.clone())
            .map_err(|_| unsupported_at(&format!("the table name {name}"), place))?;
        lower_last(name);
        let small = named.table.to_lowercase();
        if named.database.is_none() && self.visible.contains(&small) {
            return Ok(());
        }
        self.spell(&named.table);
        let database = named.database.as_ref().map(|database| {
            let of_catalog = database.eq_ignore_ascii_case(INFORMATION_SCHEMA);
            if of_catalog { INFORMATION_SCHEMA.to_owned() } else { database.clone() }
        });
        let key = (database, small);
        if self.tables.contains_key(&key) {
            return Ok(());
        }
        let provider = self.provider(&named)?;
        self.tables.insert(key, provider_as_source(provider));
        Ok(())
    }

    fn provider(&mut self, name: &TableName) -> Result<Arc<dyn TableProvider>, SqlError> {
        let database = self.context.database_name(name.database.as_deref())?;
        if database.eq_ignore_ascii_case(INFORMATION_SCHEMA) {
            let table = system_table(&name.table, self.context).ok_or_else(|| {
                let text = format!("Unknown table '{}' in information_schema", name.table);
                SqlError::new(ErrorCode::NoSuchTable, text)
            })?;
            table.columns.iter().for_each(|(column, _)| self.spell(column));
            return in_memory(&table);
        }
        let database = self.context.database(name.database.as_deref())?;
        let schema = &self.context.table(name)?.schema;
        let scope = GrantScope::table(&database.name, &schema.name);
        self.context.require(Privilege::Select, &scope)?;
        schema.columns.iter().for_each(|column| self.spell(&column.name));
        match schema.kind {
            TableKind::Sharded => {
                Ok(Arc::new(ShardedTable::new(schema.clone(), database.partitions, Arc::clone(self.scanner))))
            }
            TableKind::Reference => {
                let mut rows = Vec::new();
                for (_, row) in self.context.catalog.reference_rows(schema.id) {
                    let row = decode_row(row);
                    rows.push(
                        row.map_err(|error| SqlError::new(ErrorCode::UnknownError, error.to_string()))?,
                    );
                }
                batches_of(schema.clone(), &rows)
            }
        }
    }
}

pub(super) fn is_dual(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Table { name, .. } if name.to_string().eq_ignore_ascii_case("dual"))
}

/// A result as a table.
fn in_memory(result: &ResultSet) -> Result<Arc<dyn TableProvider>, SqlError> {
    batches_of(crate::read::system::schema_of(result), &result.rows)
}

/// Rows as a table in memory.
fn batches_of(
    schema: baton_model::TableSchema,
    rows: &[baton_model::Row],
) -> Result<Arc<dyn TableProvider>, SqlError> {
    let projection: Vec<usize> = (0..schema.columns.len()).collect();
    let arrow_schema = crate::leaf::batch_schema(&schema, &projection)?;
    let partition = baton_model::PartitionId { database: schema.database, ordinal: 0 };
    let access = crate::bind::Access::All;
    let request = ScanRequest { partition, schema, projection, filter: None, limit: None, access };
    let mut scan = LeafScan::compile(&request)?;
    let mut batches: Vec<RecordBatch> = Vec::new();
    for chunk in rows.chunks(SCAN_CHUNK_ROWS) {
        batches.extend(scan.batch(chunk)?);
    }
    let table = MemTable::try_new(arrow_schema, vec![batches]).map_err(crate::read::errors::sql_error)?;
    Ok(Arc::new(table))
}
