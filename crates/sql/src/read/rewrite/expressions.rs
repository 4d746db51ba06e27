//! Expressions, each as its place wants it: a value or a truth.
//!
//! An expression is first desugared, as for our own evaluator, then rewritten inside, then cast or compared.
//! Where an operator's words differ between MySQL and DataFusion (BETWEEN, LIKE, EXISTS as an item, signs), they are
//! exchanged here.
//!
//! Not here: calls of functions (`functions.rs`), and what operators mean, which the engine is given (`operators.rs` of
//! `read`).

use baton_model::errors::{ErrorCode, SqlError};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, CastKind, DataType, Expr, GroupByExpr, LimitClause, OrderByExpr, Select,
    SelectItem, SetExpr, Spanned, UnaryOperator, Value,
};

use super::functions::{average, is_called};
use super::names::lower;
use super::{Done, Rewriter, Want};
use crate::bind::{call, desugar, number, text};
use crate::parse::unsupported_at;

impl Rewriter<'_> {
    pub(super) fn sort_keys(&mut self, by: &mut [OrderByExpr]) -> Done {
        by.iter_mut().try_for_each(|by| self.expr(&mut by.expr, Want::Value))
    }

    pub(super) fn list(&mut self, list: &mut [Expr]) -> Done {
        list.iter_mut().try_for_each(|expr| self.expr(expr, Want::Value))
    }

    /// Rewrites an expression, so that it gives what its place wants.
    pub(super) fn expr(&mut self, expr: &mut Expr, want: Want) -> Done {
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

pub(super) fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.into()))
}
