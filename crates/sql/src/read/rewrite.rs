//! A MySQL query in the words that DataFusion's planner has.
//!
//! * Names have no case: all are written small, and the result gets back the names as the client wrote them.
//! * Truth is a number: where a condition stands for a value it is cast, where a value stands for a condition it is
//!   compared with 0.
//! * Tables are looked up here, so that the planner finds them all.
//!
//! What is not known here is refused; it never reaches a planner that might take it for something else.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{TableKind, decode_row};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::datasource::{MemTable, TableProvider, provider_as_source};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, GroupByExpr, GroupByWithModifier, Ident, JoinConstraint,
    JoinOperator, LimitClause, NamedWindowExpr, ObjectName, ObjectNamePart, OrderBy, OrderByExpr,
    OrderByKind, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Spanned, TableAlias,
    TableFactor, TableWithJoins, UnaryOperator, Value, WindowFrameBound, WindowSpec, WindowType,
};

use super::Scanner;
use super::engine::knows;
use super::planner::Tables;
use super::shortcut::item_name;
use super::system::system_table;
use super::table::ShardedTable;
use crate::bind::{Context, INFORMATION_SCHEMA, call, desugar, number, text};
use crate::leaf::{LeafScan, ScanRequest};
use crate::limits::{JOIN_TABLES_MAX, SCAN_CHUNK_ROWS};
use crate::parse::unsupported_at;
use crate::session::ResultSet;
use crate::statement::{Query, TableName};

/// A query, ready for the planner.
pub(super) struct Rewritten {
    pub(super) ast: Box<ast::Query>,
    pub(super) tables: Tables,
    pub(super) names: Names,
}

/// What the result's columns are called.
pub(super) struct Names {
    /// The name of each item of the outermost SELECT list; None is a wildcard.
    items: Vec<Option<String>>,
    /// Names as they were written or declared, by the name in lower case.
    spelled: BTreeMap<String, String>,
}

impl Names {
    /// The names of these columns.
    pub(super) fn of(&self, schema: &DFSchema) -> Vec<String> {
        let count = schema.fields().len();
        let spelled = |n: usize| {
            let name = schema.field(n).name();
            self.spelled.get(name).cloned().unwrap_or_else(|| name.clone())
        };
        let wildcards = self.items.iter().filter(|item| item.is_none()).count();
        let expanded = (count + wildcards).checked_sub(self.items.len());
        match (wildcards, expanded) {
            (0, Some(0)) => self.items.iter().flatten().cloned().collect(),
            (1, Some(expanded)) => {
                let mut names = Vec::with_capacity(count);
                for item in &self.items {
                    match item {
                        Some(name) => names.push(name.clone()),
                        None => names.extend((names.len()..names.len() + expanded).map(spelled)),
                    }
                }
                names
            }
            _ => (0..count).map(spelled).collect(),
        }
    }
}

/// Rewrites a query, and looks its tables up.
///
/// # Errors
/// Unknown tables, and what is not supported.
pub(super) fn rewrite(
    query: &Query,
    context: &Context<'_>,
    scanner: &Arc<dyn Scanner>,
) -> Result<Rewritten, SqlError> {
    let mut rewriter = Rewriter {
        context,
        scanner,
        tables: Tables::new(),
        mentioned: 0,
        spelled: BTreeMap::new(),
        visible: Vec::new(),
        in_items: false,
    };
    let items = first_select(&query.ast.body).map_or_else(Vec::new, |select| {
        let name = |(n, item): (usize, &SelectItem)| match item {
            SelectItem::UnnamedExpr(expr) => Some(item_name(query, n, expr)),
            SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
            _ => None,
        };
        select.projection.iter().enumerate().map(name).collect()
    });
    let mut ast = query.ast.clone();
    rewriter.query(&mut ast)?;
    Ok(Rewritten { ast, tables: rewriter.tables, names: Names { items, spelled: rewriter.spelled } })
}

/// The SELECT that names the columns.
fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// What the place of an expression wants of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Value,
    Truth,
}

struct Rewriter<'a> {
    context: &'a Context<'a>,
    scanner: &'a Arc<dyn Scanner>,
    tables: Tables,
    /// How many tables the FROM at hand mentions.
    mentioned: usize,
    spelled: BTreeMap<String, String>,
    /// The names of WITH that are visible, in lower case.
    visible: Vec<String>,
    /// Whether the expression at hand is an item of a SELECT, where DataFusion has no EXISTS.
    in_items: bool,
}

type Done = Result<(), SqlError>;

impl Rewriter<'_> {
    fn query(&mut self, query: &mut ast::Query) -> Done {
        let outside = self.visible.len();
        let in_items = std::mem::take(&mut self.in_items);
        if let Some(with) = &mut query.with {
            for table in &mut with.cte_tables {
                self.alias(&mut table.alias);
                let name = table.alias.name.value.clone();
                if with.recursive {
                    self.visible.push(name.clone());
                }
                self.query(&mut table.query)?;
                if !with.recursive {
                    self.visible.push(name);
                }
            }
        }
        self.body(&mut query.body)?;
        if let Some(order_by) = &mut query.order_by {
            self.order_by(order_by)?;
        }
        self.limit(query)?;
        if query.fetch.is_some() || !query.locks.is_empty() || query.for_clause.is_some() {
            return Err(unsupported_at("this clause of a query", query.span().start));
        }
        if query.settings.is_some() || query.format_clause.is_some() || !query.pipe_operators.is_empty() {
            return Err(unsupported_at("this clause of a query", query.span().start));
        }
        self.visible.truncate(outside);
        self.in_items = in_items;
        Ok(())
    }

    /// `LIMIT offset, count` in its other form.
    fn limit(&mut self, query: &mut ast::Query) -> Done {
        match &mut query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) => {
                if !limit_by.is_empty() {
                    return Err(unsupported_at("LIMIT BY", limit_by[0].span().start));
                }
                if let Some(limit) = limit {
                    self.expr(limit, Want::Value)?;
                }
                if let Some(offset) = offset {
                    self.expr(&mut offset.value, Want::Value)?;
                }
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                self.expr(offset, Want::Value)?;
                self.expr(limit, Want::Value)?;
                let offset = ast::Offset { value: offset.clone(), rows: ast::OffsetRows::None };
                query.limit_clause = Some(LimitClause::LimitOffset {
                    limit: Some(limit.clone()),
                    offset: Some(offset),
                    limit_by: Vec::new(),
                });
            }
        }
        Ok(())
    }

    fn body(&mut self, body: &mut SetExpr) -> Done {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left)?;
                self.body(right)
            }
            SetExpr::Values(values) => {
                values.explicit_row = false;
                for row in &mut values.rows {
                    self.list(&mut row.content)?;
                }
                Ok(())
            }
            other => Err(unsupported_at("this kind of query", other.span().start)),
        }
    }

    fn select(&mut self, select: &mut Select) -> Done {
        let place = select.span().start;
        let strange = select.into.is_some()
            || select.top.is_some()
            || select.exclude.is_some()
            || select.qualify.is_some()
            || select.prewhere.is_some()
            || !select.lateral_views.is_empty()
            || !select.connect_by.is_empty()
            || !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty();
        if strange {
            let what = if select.into.is_some() { "SELECT … INTO" } else { "this clause of a SELECT" };
            return Err(unsupported_at(what, place));
        }
        select.select_modifiers = None;
        select.optimizer_hints.clear();
        if let Some(ast::Distinct::On(columns)) = &mut select.distinct {
            self.list(columns)?;
        }
        let outside = std::mem::take(&mut self.mentioned);
        for table in &mut select.from {
            self.table_with_joins(table)?;
        }
        self.mentioned = outside;
        select.from.retain(|table| !is_dual(&table.relation));
        if let Some(condition) = &mut select.selection {
            self.expr(condition, Want::Truth)?;
        }
        match &mut select.group_by {
            GroupByExpr::Expressions(by, modifiers) => {
                self.list(by)?;
                match modifiers.as_slice() {
                    [] => {}
                    [GroupByWithModifier::Rollup] => {
                        let sets = std::mem::take(by).into_iter().map(|expr| vec![expr]).collect();
                        by.push(Expr::Rollup(sets));
                        modifiers.clear();
                    }
                    _ => return Err(unsupported_at("this GROUP BY", place)),
                }
            }
            GroupByExpr::All(_) => return Err(unsupported_at("GROUP BY ALL", place)),
        }
        if let Some(condition) = &mut select.having {
            self.expr(condition, Want::Truth)?;
        }
        for window in &mut select.named_window {
            lower(&mut window.0);
            match &mut window.1 {
                NamedWindowExpr::NamedWindow(name) => lower(name),
                NamedWindowExpr::WindowSpec(spec) => self.window(spec)?,
            }
        }
        self.projection(&mut select.projection)
    }

    /// Gives every computed item a name, and every name to one item only, as the planner wants it.
    fn projection(&mut self, items: &mut [SelectItem]) -> Done {
        let mut taken: Vec<String> = Vec::with_capacity(items.len());
        for item in items {
            let (mut expr, wanted) = match item {
                SelectItem::Wildcard(options) => {
                    *options = ast::WildcardAdditionalOptions::default();
                    continue;
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    lower_last(name);
                    continue;
                }
                SelectItem::UnnamedExpr(expr) => {
                    let name = match &*expr {
                        Expr::Identifier(name) if !name.value.starts_with('@') => name.value.to_lowercase(),
                        // Of two tables' columns of one name both keep it.
                        Expr::CompoundIdentifier(names) if !names[0].value.starts_with('@') => {
                            names.iter().map(|name| name.value.to_lowercase()).collect::<Vec<_>>().join(".")
                        }
                        other => other.to_string(),
                    };
                    (expr.clone(), (name, matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))))
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    self.spell(&alias.value);
                    (expr.clone(), (alias.value.to_lowercase(), false))
                }
                other => return Err(unsupported_at("this item", other.span().start)),
            };
            let (name, is_column) = wanted;
            self.in_items = true;
            self.expr(&mut expr, Want::Value)?;
            self.in_items = false;
            let still_column = is_column && matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
            let times = taken.iter().filter(|earlier| **earlier == name).count();
            taken.push(name.clone());
            *item = if still_column && times == 0 {
                SelectItem::UnnamedExpr(expr)
            } else {
                let name = if times == 0 { name } else { format!("{name}:{}", times + 1) };
                SelectItem::ExprWithAlias { expr, alias: Ident::new(name) }
            };
        }
        Ok(())
    }

    fn table_with_joins(&mut self, table: &mut TableWithJoins) -> Done {
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

    fn alias(&mut self, alias: &mut TableAlias) {
        lower(&mut alias.name);
        for column in &mut alias.columns {
            self.spell(&column.name.value);
            lower(&mut column.name);
        }
    }

    /// Remembers how a name is written. The first one wins.
    fn spell(&mut self, name: &str) {
        self.spelled.entry(name.to_lowercase()).or_insert_with(|| name.to_owned());
    }

    fn order_by(&mut self, order_by: &mut OrderBy) -> Done {
        match &mut order_by.kind {
            OrderByKind::Expressions(by) => self.sort_keys(by),
            OrderByKind::All(_) => Err(unsupported_at("ORDER BY ALL", order_by.span().start)),
        }
    }

    fn sort_keys(&mut self, by: &mut [OrderByExpr]) -> Done {
        by.iter_mut().try_for_each(|by| self.expr(&mut by.expr, Want::Value))
    }

    fn list(&mut self, list: &mut [Expr]) -> Done {
        list.iter_mut().try_for_each(|expr| self.expr(expr, Want::Value))
    }

    fn window(&mut self, window: &mut WindowSpec) -> Done {
        if let Some(name) = &mut window.window_name {
            lower(name);
        }
        self.list(&mut window.partition_by)?;
        self.sort_keys(&mut window.order_by)?;
        if let Some(frame) = &mut window.window_frame {
            for bound in [Some(&mut frame.start_bound), frame.end_bound.as_mut()].into_iter().flatten() {
                if let WindowFrameBound::Preceding(Some(expr)) | WindowFrameBound::Following(Some(expr)) =
                    bound
                {
                    self.expr(expr, Want::Value)?;
                }
            }
        }
        Ok(())
    }

    /// Rewrites an expression, so that it gives what its place wants.
    fn expr(&mut self, expr: &mut Expr, want: Want) -> Done {
        desugar(expr, self.context)?;
        self.inside(expr)?;
        match (want, is_truth(expr)) {
            (Want::Value, true) => {
                *expr = Expr::Cast {
                    kind: CastKind::Cast,
                    expr: Box::new(take(expr)),
                    data_type: DataType::BigInt(None),
                    array: false,
                    format: None,
                };
            }
            (Want::Truth, false) => {
                let value = Box::new(take(expr));
                *expr = Expr::BinaryOp { left: value, op: BinaryOperator::NotEq, right: Box::new(number(0)) };
            }
            _ => {}
        }
        Ok(())
    }

    /// Rewrites what is inside of an expression.
    fn inside(&mut self, expr: &mut Expr) -> Done {
        let place = expr.span().start;
        match expr {
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
                return Err(SqlError::new(ErrorCode::WrongArguments, "A parameter has no value"));
            }
            Expr::Value(value) => match &value.value {
                // With an exponent it is a double, not a decimal.
                Value::Number(digits, _) if digits.contains(['e', 'E']) => {
                    *expr = call("__double", vec![text(digits.clone())]);
                }
                _ => {}
            },
            Expr::Identifier(name) => lower(name),
            Expr::CompoundIdentifier(names) => {
                // A database keeps its case.
                let from = names.len().saturating_sub(2);
                names[from..].iter_mut().for_each(lower);
            }
            Expr::Nested(inner) => self.expr(inner, Want::Value)?,
            Expr::UnaryOp { op, expr: inner } => match op {
                UnaryOperator::Not => self.expr(inner, Want::Truth)?,
                UnaryOperator::Plus => self.expr(inner, Want::Value)?,
                UnaryOperator::Minus => {
                    self.expr(inner, Want::Value)?;
                    // The opposite of the least integer is none; a literal takes its sign when it is read.
                    if !matches!(**inner, Expr::Value(_)) {
                        *expr = call("__negate", vec![take(inner)]);
                    }
                }
                UnaryOperator::BitwiseNot => {
                    self.expr(inner, Want::Value)?;
                    *expr = call("__bit_not", vec![take(inner)]);
                }
                other => return Err(unsupported_at(&other.to_string(), place)),
            },
            Expr::BinaryOp { left, op, right } => match op {
                BinaryOperator::And | BinaryOperator::Or => {
                    self.expr(left, Want::Truth)?;
                    self.expr(right, Want::Truth)?;
                }
                BinaryOperator::Xor => {
                    // Two truths that differ.
                    self.expr(left, Want::Truth)?;
                    self.expr(right, Want::Truth)?;
                    *op = BinaryOperator::NotEq;
                }
                _ => {
                    self.expr(left, Want::Value)?;
                    self.expr(right, Want::Value)?;
                }
            },
            Expr::IsNull(inner) | Expr::IsNotNull(inner) => self.expr(inner, Want::Value)?,
            Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner) => self.expr(inner, Want::Truth)?,
            Expr::InList { expr: inner, list, .. } => {
                self.expr(inner, Want::Value)?;
                self.list(list)?;
            }
            Expr::InSubquery { expr: inner, subquery, .. } => {
                self.expr(inner, Want::Value)?;
                self.query(subquery)?;
            }
            Expr::Between { expr: inner, negated, low, high } => {
                self.expr(inner, Want::Value)?;
                self.expr(low, Want::Value)?;
                self.expr(high, Want::Value)?;
                // As two comparisons, so that the types meet as in any other.
                let from = compare(take(&mut inner.clone()), BinaryOperator::GtEq, take(low));
                let to = compare(take(inner), BinaryOperator::LtEq, take(high));
                let both = Expr::BinaryOp { left: from, op: BinaryOperator::And, right: to };
                *expr = if *negated {
                    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(both))) }
                } else {
                    both
                };
            }
            Expr::Like { any: false, expr: inner, pattern, .. } => {
                self.expr(inner, Want::Value)?;
                self.expr(pattern, Want::Value)?;
                **inner = call("__char", vec![take(inner)]);
            }
            Expr::RLike { negated, expr: inner, pattern, .. } => {
                self.expr(inner, Want::Value)?;
                self.expr(pattern, Want::Value)?;
                let op =
                    if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
                let left = Box::new(call("__char", vec![take(inner)]));
                *expr = Expr::BinaryOp { left, op, right: Box::new(call("__char", vec![take(pattern)])) };
            }
            Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. } => {
                self.expr(left, Want::Value)?;
                match &mut **right {
                    Expr::Subquery(query) => self.query(query)?,
                    _ => return Err(unsupported_at("ANY and ALL without a subquery", place)),
                }
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                let want = if operand.is_some() { Want::Value } else { Want::Truth };
                if let Some(operand) = operand {
                    self.expr(operand, Want::Value)?;
                }
                for branch in conditions {
                    self.expr(&mut branch.condition, want)?;
                    self.expr(&mut branch.result, Want::Value)?;
                }
                if let Some(result) = else_result {
                    self.expr(result, Want::Value)?;
                }
            }
            Expr::Exists { subquery, negated } => match count_of(subquery).filter(|_| self.in_items) {
                Some(mut count) => {
                    self.query(&mut count)?;
                    let op = if *negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
                    *expr = *compare(Expr::Subquery(count), op, number(0));
                }
                None => self.query(subquery)?,
            },
            Expr::Subquery(subquery) => self.query(subquery)?,
            Expr::Tuple(items) => self.list(items)?,
            Expr::Function(function) => {
                let is_average = is_called(function, "avg");
                self.function(function)?;
                if is_average {
                    *expr = average(function);
                }
            }
            other => return Err(unsupported_at(&other.to_string(), place)),
        }
        Ok(())
    }

    fn function(&mut self, function: &mut Function) -> Done {
        let place = function.name.span().start;
        let [part] = function.name.0.as_slice() else {
            return Err(unsupported_at(&format!("the function {}", function.name), place));
        };
        let name = part.as_ident().map(|name| name.value.to_lowercase()).unwrap_or_default();
        // MySQL's names of aggregates that DataFusion calls otherwise.
        let name = match name.as_str() {
            "std" | "stddev" => "stddev_pop",
            "variance" => "var_pop",
            "any_value" => "first_value",
            "group_concat" => "string_agg",
            other => other,
        }
        .to_owned();
        if !knows(&name) {
            return Err(unsupported_at(&format!("the function {}", name.to_uppercase()), place));
        }
        let is_group_concat = name == "string_agg";
        let is_sum = matches!(name.as_str(), "sum" | "avg");
        function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]);
        if let FunctionArguments::List(list) = &mut function.args {
            for argument in &mut list.args {
                match argument {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => self.expr(expr, Want::Value)?,
                    FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => {}
                    _ => return Err(unsupported_at("this argument", place)),
                }
            }
            for clause in &mut list.clauses {
                if let FunctionArgumentClause::OrderBy(by) = clause {
                    self.sort_keys(by)?;
                }
            }
            if is_group_concat {
                group_concat(list);
            }
            if is_sum && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(summand))] = list.args.as_mut_slice()
            {
                // A sum of integers may be longer than they are.
                *summand = call("__summand", vec![take(summand)]);
            }
        }
        if let Some(filter) = &mut function.filter {
            self.expr(filter, Want::Truth)?;
        }
        self.sort_keys(&mut function.within_group)?;
        match &mut function.over {
            Some(WindowType::WindowSpec(window)) => self.window(window),
            Some(WindowType::NamedWindow(name)) => {
                lower(name);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn is_called(function: &Function, name: &str) -> bool {
    matches!(function.name.0.as_slice(), [part] if part.as_ident().is_some_and(|of| of.value.eq_ignore_ascii_case(name)))
}

/// `AVG(x)` as `SUM(x) / COUNT(x)`, because it has the digits that any other quotient has.
fn average(function: &Function) -> Expr {
    let named = |name: &str| {
        let name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]);
        Expr::Function(Function { name, ..function.clone() })
    };
    call("__divide", vec![named("sum"), named("count")])
}

/// A query that counts at least one row where this one has a row; None if it is not so simple.
fn count_of(query: &ast::Query) -> Option<Box<ast::Query>> {
    let SetExpr::Select(select) = &*query.body else { return None };
    let is_limited = match &query.limit_clause {
        None => false,
        Some(LimitClause::LimitOffset { limit: Some(Expr::Value(limit)), offset: None, limit_by }) => {
            let is_some =
                matches!(&limit.value, Value::Number(digits, _) if digits.parse().is_ok_and(|n: u64| n > 0));
            !is_some || !limit_by.is_empty()
        }
        Some(_) => true,
    };
    // An aggregate without GROUP BY has a row of nothing.
    let is_grouped = match &select.group_by {
        GroupByExpr::Expressions(by, more) if more.is_empty() => !by.is_empty(),
        _ => return None,
    };
    let is_of_rows = select.projection.iter().all(|item| match item {
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => true,
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            matches!(expr, Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        }
        _ => false,
    });
    if is_limited || select.having.is_some() || !(is_grouped || is_of_rows) {
        return None;
    }
    let counting = Select {
        projection: vec![SelectItem::UnnamedExpr(call("count", vec![number(1)]))],
        distinct: None,
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        ..(**select).clone()
    };
    let body = Box::new(SetExpr::Select(Box::new(counting)));
    Some(Box::new(ast::Query { body, order_by: None, limit_clause: None, ..query.clone() }))
}

/// `GROUP_CONCAT(a, b ORDER BY c SEPARATOR s)`: one text, and the separator.
fn group_concat(list: &mut ast::FunctionArgumentList) {
    let mut separator = text(",");
    list.clauses.retain(|clause| match clause {
        FunctionArgumentClause::Separator(value) => {
            separator = Expr::Value(value.clone());
            false
        }
        _ => true,
    });
    let parts: Vec<Expr> = std::mem::take(&mut list.args)
        .into_iter()
        .filter_map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect();
    let whole = call("concat", parts);
    list.args = [whole, separator].map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).into();
}

/// Whether DataFusion gives a truth for it, not a number.
fn is_truth(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_truth(inner),
        Expr::BinaryOp { op, .. } => matches!(
            op,
            BinaryOperator::And
                | BinaryOperator::Or
                | BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq
                | BinaryOperator::Spaceship
                | BinaryOperator::PGRegexMatch
                | BinaryOperator::PGRegexNotMatch
        ),
        Expr::UnaryOp { op: UnaryOperator::Not, .. }
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::Between { .. }
        | Expr::Like { .. }
        | Expr::RLike { .. }
        | Expr::Exists { .. }
        | Expr::AnyOp { .. }
        | Expr::AllOp { .. } => true,
        _ => false,
    }
}

fn compare(left: Expr, op: BinaryOperator, right: Expr) -> Box<Expr> {
    Box::new(Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) })
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.into()))
}

fn is_dual(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Table { name, .. } if name.to_string().eq_ignore_ascii_case("dual"))
}

fn lower(name: &mut Ident) {
    name.value = name.value.to_lowercase();
    name.quote_style = None;
}

/// The last part of a name in lower case; a database before it keeps its case.
fn lower_last(name: &mut ObjectName) {
    let last = name.0.len().saturating_sub(1);
    for (n, part) in name.0.iter_mut().enumerate() {
        if let ObjectNamePart::Identifier(ident) = part {
            if n == last {
                lower(ident);
            } else if ident.value.eq_ignore_ascii_case(INFORMATION_SCHEMA) {
                ident.value = INFORMATION_SCHEMA.to_owned();
            }
        }
    }
}

/// A result as a table.
fn in_memory(result: &ResultSet) -> Result<Arc<dyn TableProvider>, SqlError> {
    batches_of(super::system::schema_of(result), &result.rows)
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
    let table = MemTable::try_new(arrow_schema, vec![batches]).map_err(super::errors::sql_error)?;
    Ok(Arc::new(table))
}
