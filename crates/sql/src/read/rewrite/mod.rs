//! A MySQL query in the words that DataFusion's planner has.
//!
//! * Names have no case: all are written small, and the result gets back the names as the client wrote them.
//! * Truth is a number: where a condition stands for a value it is cast, where a value stands for a condition it is
//!   compared with 0.
//! * Tables are looked up here, so that the planner finds them all.
//!
//! What is not known here is refused; it never reaches a planner that might take it for something else.
//!
//! This file goes from clause to clause. Not in it: names (`names.rs`), what FROM has (`tables.rs`), and what is inside
//! of expressions (`expressions.rs`, and `functions.rs` for calls).

mod expressions;
mod functions;
mod names;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_model::errors::SqlError;
use datafusion::sql::sqlparser::ast::{
    self, Expr, GroupByExpr, GroupByWithModifier, Ident, LimitClause, NamedWindowExpr, OrderBy, OrderByKind,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Spanned,
};

use self::names::{Names, lower, lower_last};
use self::tables::is_dual;
use super::Scanner;
use super::planner::Tables;
use super::shortcut::item_name;
use crate::bind::Context;
use crate::parse::unsupported_at;
use crate::statement::Query;

/// A query, ready for the planner.
pub(super) struct Rewritten {
    pub(super) ast: Box<ast::Query>,
    pub(super) tables: Tables,
    pub(super) names: Names,
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

    fn order_by(&mut self, order_by: &mut OrderBy) -> Done {
        match &mut order_by.kind {
            OrderByKind::Expressions(by) => self.sort_keys(by),
            OrderByKind::All(_) => Err(unsupported_at("ORDER BY ALL", order_by.span().start)),
        }
    }
}
