//! Where types meet without an operator of ours between them: lists, the branches of a CASE, UNION.
//!
//! It runs before DataFusion's own rules for types, which would make decimals of doubles and text of numbers.
//! Not here: what a single operator does with its sides (`operators`).

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{BinaryExpr, Case, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, Union, cast, not, or,
};
use datafusion::optimizer::AnalyzerRule;

use super::operators::{beside_double, comparable};

/// The types that MySQL would compute with.
#[derive(Debug)]
pub(super) struct MysqlTypes;

impl AnalyzerRule for MysqlTypes {
    fn name(&self) -> &str {
        "mysql_types"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            let met = plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let met = expr.transform_up(|expr| meet(expr, &schema))?;
                Ok(met.update_data(|expr| name.restore(expr)))
            })?;
            met.map_data(|plan| match plan {
                LogicalPlan::Union(union) => union_of(union),
                other => other.recompute_schema(),
            })
        })
        .map(|plan| plan.data)
    }
}

fn meet(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(Transformed::yes(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (of_left, of_right) = (left.get_type(schema)?, right.get_type(schema)?);
            let (left, right) = match op {
                Operator::Plus | Operator::Minus | Operator::Multiply => {
                    (beside_double(*left, &of_left, &of_right), beside_double(*right, &of_right, &of_left))
                }
                Operator::Eq
                | Operator::NotEq
                | Operator::Lt
                | Operator::LtEq
                | Operator::Gt
                | Operator::GtEq
                | Operator::IsDistinctFrom
                | Operator::IsNotDistinctFrom => {
                    (comparable(*left, &of_left, &of_right)?, comparable(*right, &of_right, &of_left)?)
                }
                _ => (*left, *right),
            };
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
        }
        Expr::InList(list) => in_list(list, schema)?,
        Expr::Case(case) => branches(case, schema)?,
        other => return Ok(Transformed::no(other)),
    }))
}

/// A list, as one list for each way in which the value meets items.
fn in_list(list: InList, schema: &DFSchema) -> Result<Expr> {
    let own = list.expr.get_type(schema)?;
    // Beside a double, exact items would become doubles too.
    let mut ways: Vec<(Expr, bool, Vec<Expr>)> = Vec::new();
    for item in list.list {
        let of_item = item.get_type(schema)?;
        let value = comparable((*list.expr).clone(), &own, &of_item)?;
        let item = comparable(item, &of_item, &own)?;
        let is_double = item.get_type(schema)?.is_floating();
        match ways.iter_mut().find(|(met, double, _)| *met == value && *double == is_double) {
            Some((_, _, items)) => items.push(item),
            None => ways.push((value, is_double, vec![item])),
        }
    }
    let lists =
        ways.into_iter().map(|(value, _, items)| Expr::InList(InList::new(Box::new(value), items, false)));
    let all = lists.reduce(or);
    Ok(match all {
        Some(Expr::InList(only)) => Expr::InList(InList { negated: list.negated, ..only }),
        Some(all) if list.negated => not(all),
        Some(all) => all,
        None => Expr::InList(InList::new(list.expr, Vec::new(), list.negated)),
    })
}

/// A CASE whose operand is compared as everywhere else, and whose results are doubles if one is.
fn branches(case: Case, schema: &DFSchema) -> Result<Expr> {
    let Case { mut expr, when_then_expr, else_expr } = case;
    let mut branches = when_then_expr;
    if let Some(operand) = &expr {
        let own = operand.get_type(schema)?;
        let mut conditions = Vec::with_capacity(branches.len());
        let mut is_met = true;
        for (when, _) in &branches {
            let of_when = when.get_type(schema)?;
            let value = comparable((**operand).clone(), &own, &of_when)?;
            let item = comparable((**when).clone(), &of_when, &own)?;
            is_met &= value == **operand && item == **when;
            conditions.push(value.eq(item));
        }
        if !is_met {
            for ((when, _), condition) in branches.iter_mut().zip(conditions) {
                **when = condition;
            }
            expr = None;
        }
    }
    let mut results: Vec<Expr> = branches.iter().map(|(_, then)| (**then).clone()).collect();
    results.extend(else_expr.as_deref().cloned());
    let types = results.iter().map(|result| result.get_type(schema)).collect::<Result<Vec<_>>>()?;
    if !types.contains(&DataType::Float64) {
        return Ok(Expr::Case(Case { expr, when_then_expr: branches, else_expr }));
    }
    let mut results = results
        .into_iter()
        .zip(&types)
        .map(|(result, of)| Box::new(beside_double(result, of, &DataType::Float64)));
    let when_then_expr = branches.into_iter().zip(results.by_ref()).map(|((when, _), then)| (when, then));
    Ok(Expr::Case(Case { expr, when_then_expr: when_then_expr.collect(), else_expr: results.next() }))
}

/// A UNION whose columns are doubles if one of its queries has them so.
fn union_of(union: Union) -> Result<LogicalPlan> {
    let is_double = |input: &Arc<LogicalPlan>, n: usize| {
        input.schema().fields().get(n).is_some_and(|field| *field.data_type() == DataType::Float64)
    };
    let columns = union.inputs.first().map_or(0, |input| input.schema().fields().len());
    let doubles: Vec<bool> =
        (0..columns).map(|n| union.inputs.iter().any(|input| is_double(input, n))).collect();
    let inputs = union.inputs.into_iter().map(|input| {
        let schema = Arc::clone(input.schema());
        let is_decimal = |n: usize| matches!(schema.field(n).data_type(), DataType::Decimal128(..));
        if !doubles
            .iter()
            .enumerate()
            .any(|(n, double)| *double && n < schema.fields().len() && is_decimal(n))
        {
            return Ok(input);
        }
        let items = schema.columns().into_iter().enumerate().map(|(n, column)| {
            let (relation, name) = (column.relation.clone(), column.name.clone());
            let item = Expr::Column(column);
            if doubles.get(n) == Some(&true) && is_decimal(n) {
                cast(item, DataType::Float64).alias_qualified(relation, name)
            } else {
                item
            }
        });
        let items: Vec<Expr> = items.collect();
        LogicalPlanBuilder::from(Arc::unwrap_or_clone(input)).project(items)?.build().map(Arc::new)
    });
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs.collect::<Result<Vec<_>>>()?)?))
}
