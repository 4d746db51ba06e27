//! From the parser's tree of an expression over one table to an [`Expression`].

use std::borrow::Cow;

use baton_model::errors::{ErrorCode, SqlError};
use baton_model::{ColumnType, TableSchema};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, UnaryOperator,
    ValueWithSpan,
};

use super::{Context, desugar, unknown_column};
use crate::expression::functions::unhex;
use crate::expression::{
    Arithmetic, Comparison, Expression, FunctionRef, REGULAR_ESCAPE, Value, exact_number, negate,
    parse_number,
};
use crate::parse::unsupported_at;

/// The columns that an expression may name.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// The table; None if there is none to name.
    pub(crate) schema: Option<&'a TableSchema>,
    /// The name that the table has in the statement.
    pub(crate) name: &'a str,
    /// The database that may stand before it.
    pub(crate) database: Option<&'a String>,
    /// What an error calls this part of the statement.
    pub(crate) clause: &'static str,
}

impl Columns<'_> {
    /// No columns.
    pub(crate) const fn none(clause: &'static str) -> Self {
        Self { schema: None, name: "", database: None, clause }
    }

    fn find(&self, names: &[ast::Ident]) -> Result<Expression, SqlError> {
        let shown = || names.iter().map(|name| name.value.as_str()).collect::<Vec<_>>().join(".");
        let unknown = || unknown_column(&shown(), self.clause);
        let schema = self.schema.ok_or_else(unknown)?;
        let (column, of_this) = match names {
            [column] => (column, true),
            [table, column] => (column, table.value.eq_ignore_ascii_case(self.name)),
            [database, table, column] => {
                let of_database = self.database.is_some_and(|name| *name == database.value);
                (column, of_database && table.value.eq_ignore_ascii_case(self.name))
            }
            _ => return Err(unknown()),
        };
        let position = schema.column_index(&column.value).filter(|_| of_this).ok_or_else(unknown)?;
        Ok(Expression::Column(position, schema.columns[position].column_type))
    }
}

/// The value of a literal; None if the expression is anything else.
pub(super) fn literal(expr: &Expr) -> Option<Value<'static>> {
    match expr {
        Expr::Value(value) => of_value(value),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match &**expr {
            Expr::Value(value) => negate(&of_value(value)?).ok(),
            _ => None,
        },
        _ => None,
    }
}

fn of_value(value: &ValueWithSpan) -> Option<Value<'static>> {
    use ast::Value as Literal;
    Some(match &value.value {
        Literal::Number(digits, _) => parse_number(digits)?.into_value().ok()?,
        Literal::SingleQuotedString(text)
        | Literal::DoubleQuotedString(text)
        | Literal::NationalStringLiteral(text) => Value::Text(Cow::Owned(text.clone())),
        Literal::HexStringLiteral(digits) => Value::Bytes(Cow::Owned(unhex(digits)?)),
        Literal::Boolean(truth) => Value::truth(*truth),
        Literal::Null => Value::Null,
        _ => return None,
    })
}

/// An expression over one table, with everything that is constant computed.
///
/// # Errors
/// 1054 for an unknown column, 1235 for what needs a query or is not known.
pub(crate) fn bind_scalar(
    expr: Expr,
    columns: &Columns<'_>,
    context: &Context<'_>,
) -> Result<Expression, SqlError> {
    Binder { columns, context }.bind(expr)
}

struct Binder<'a> {
    columns: &'a Columns<'a>,
    context: &'a Context<'a>,
}

impl Binder<'_> {
    fn bind(&self, mut expr: Expr) -> Result<Expression, SqlError> {
        // A long row of operators is taken apart in a loop, so that a small stack is enough for it.
        let mut row: Vec<(BinaryOperator, Expr)> = Vec::new();
        let mut bound = loop {
            if let Some(literal) = literal(&expr) {
                break Expression::Literal(literal);
            }
            desugar(&mut expr, self.context)?;
            match expr {
                Expr::BinaryOp { left, op, right }
                    if !matches!(op, BinaryOperator::And | BinaryOperator::Or) =>
                {
                    row.push((op, *right));
                    expr = *left;
                }
                other => break self.plain(other)?.folded(),
            }
        };
        while let Some((op, right)) = row.pop() {
            bound = self.operated(bound, op, right)?.folded();
        }
        Ok(bound)
    }

    fn boxed(&self, expr: Expr) -> Result<Box<Expression>, SqlError> {
        self.bind(expr).map(Box::new)
    }

    fn list(&self, list: Vec<Expr>) -> Result<Vec<Expression>, SqlError> {
        list.into_iter().map(|item| self.bind(item)).collect()
    }

    /// An expression whose outermost syntax is plain already.
    fn plain(&self, expr: Expr) -> Result<Expression, SqlError> {
        let negate_if = |negated: bool, inner: Expression| {
            if negated { Expression::Not(Box::new(inner)) } else { inner }
        };
        Ok(match expr {
            Expr::Value(value) => match of_value(&value) {
                Some(literal) => Expression::Literal(literal),
                None if matches!(value.value, ast::Value::Placeholder(_)) => {
                    return Err(SqlError::new(ErrorCode::WrongArguments, "A parameter has no value"));
                }
                None => return Err(unsupported_at("this literal", value.span.start)),
            },
            Expr::Identifier(name) => self.columns.find(&[name])?,
            Expr::CompoundIdentifier(names) => self.columns.find(&names)?,
            Expr::Nested(inner) => self.bind(*inner)?,
            Expr::UnaryOp { op, expr } => match op {
                UnaryOperator::Plus => self.bind(*expr)?,
                UnaryOperator::Minus => Expression::Negate(self.boxed(*expr)?),
                UnaryOperator::Not | UnaryOperator::BangNot => Expression::Not(self.boxed(*expr)?),
                UnaryOperator::BitwiseNot => Expression::BitNot(self.boxed(*expr)?),
                _ => return Err(unsupported_at(&op.to_string(), expr.span().start)),
            },
            Expr::BinaryOp { left, op, right } => self.connected(*left, op, *right)?,
            Expr::IsNull(inner) | Expr::IsUnknown(inner) => Expression::IsNull(self.boxed(*inner)?),
            Expr::IsNotNull(inner) | Expr::IsNotUnknown(inner) => {
                negate_if(true, Expression::IsNull(self.boxed(*inner)?))
            }
            Expr::IsTrue(inner) => Expression::Is(self.boxed(*inner)?, true),
            Expr::IsFalse(inner) => Expression::Is(self.boxed(*inner)?, false),
            Expr::IsNotTrue(inner) => negate_if(true, Expression::Is(self.boxed(*inner)?, true)),
            Expr::IsNotFalse(inner) => negate_if(true, Expression::Is(self.boxed(*inner)?, false)),
            Expr::InList { expr, list, negated } => {
                let value = self.bind(*expr)?;
                let list = self.list(list)?.into_iter().map(|item| beside(item, &value)).collect();
                negate_if(negated, Expression::In(Box::new(value), list))
            }
            Expr::Between { expr, negated, low, high } => {
                let value = self.bind(*expr)?;
                let from = compared(Comparison::GreaterOrEqual, value.clone(), self.bind(*low)?);
                let to = compared(Comparison::LessOrEqual, value, self.bind(*high)?);
                negate_if(negated, Expression::And(vec![from, to]))
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                let escape = escape(escape_char)?;
                negate_if(negated, Expression::Like(self.boxed(*expr)?, self.boxed(*pattern)?, escape))
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                let operand = operand.map(|operand| self.bind(*operand)).transpose()?;
                let mut branches = Vec::with_capacity(conditions.len());
                for branch in conditions {
                    let condition = self.bind(branch.condition)?;
                    let condition = match &operand {
                        Some(operand) => compared(Comparison::Equal, operand.clone(), condition),
                        None => condition,
                    };
                    branches.push((condition, self.bind(branch.result)?));
                }
                Expression::Case(branches, else_result.map(|result| self.boxed(*result)).transpose()?)
            }
            Expr::Function(function) => self.function(function)?,
            other => {
                let text = match &other {
                    Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => {
                        "a subquery here".to_owned()
                    }
                    _ => other.to_string(),
                };
                return Err(unsupported_at(&text, other.span().start));
            }
        })
    }

    /// AND or OR.
    fn connected(&self, left: Expr, op: BinaryOperator, right: Expr) -> Result<Expression, SqlError> {
        // A long row of them is one node, not a deep tree.
        let mut terms = vec![right];
        let mut rest = left;
        loop {
            match rest {
                Expr::BinaryOp { left, op: inner, right } if inner == op => {
                    terms.push(*right);
                    rest = *left;
                }
                last => {
                    terms.push(last);
                    break;
                }
            }
        }
        terms.reverse();
        let terms = self.list(terms)?;
        Ok(if op == BinaryOperator::And { Expression::And(terms) } else { Expression::Or(terms) })
    }

    /// Any other operator.
    fn operated(&self, left: Expression, op: BinaryOperator, right: Expr) -> Result<Expression, SqlError> {
        let place = right.span().start;
        let right = self.bind(right)?;
        match op {
            BinaryOperator::Xor => Ok(Expression::Xor(Box::new(left), Box::new(right))),
            BinaryOperator::Spaceship => {
                let (left, right) = meeting(left, right);
                Ok(Expression::NullSafeEqual(Box::new(left), Box::new(right)))
            }
            other => match (comparison(&other), operation(&other)) {
                (Some(comparison), _) => Ok(compared(comparison, left, right)),
                (_, Some(operation)) => {
                    Ok(Expression::Arithmetic(operation, Box::new(left), Box::new(right)))
                }
                _ => Err(unsupported_at(&other.to_string(), place)),
            },
        }
    }

    fn function(&self, function: ast::Function) -> Result<Expression, SqlError> {
        let place = function.name.span().start;
        let name = function.name.to_string();
        let plain = function.over.is_none()
            && function.filter.is_none()
            && function.within_group.is_empty()
            && function.null_treatment.is_none();
        let known = FunctionRef::find(name.trim_matches('`'));
        let (Some(known), true) = (known, plain) else {
            return Err(unsupported_at(&format!("{} here", name.to_uppercase()), place));
        };
        let given = match function.args {
            FunctionArguments::None => Vec::new(),
            FunctionArguments::List(list)
                if list.clauses.is_empty() && list.duplicate_treatment.is_none() =>
            {
                list.args
            }
            _ => return Err(unsupported_at(&format!("these arguments of {name}"), place)),
        };
        let mut arguments = Vec::with_capacity(given.len());
        for argument in given {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => arguments.push(self.bind(argument)?),
                _ => return Err(unsupported_at(&format!("these arguments of {name}"), place)),
            }
        }
        known.check(arguments.len())?;
        Ok(Expression::Call(known, arguments))
    }
}

/// A comparison of two sides that meet.
fn compared(comparison: Comparison, left: Expression, right: Expression) -> Expression {
    let (left, right) = meeting(left, right);
    Expression::Compare(comparison, Box::new(left), Box::new(right))
}

fn meeting(left: Expression, right: Expression) -> (Expression, Expression) {
    if matches!(left, Expression::Literal(_)) {
        (beside(left, &right), right)
    } else {
        let right = beside(right, &left);
        (left, right)
    }
}

/// A literal as it is compared with this. Beside an integer column a text that is a number is that number, as in
/// MySQL: as doubles, large keys would be equal to their neighbours.
fn beside(literal: Expression, other: &Expression) -> Expression {
    match (&literal, other) {
        (
            Expression::Literal(Value::Text(text)),
            Expression::Column(_, ColumnType::Bool | ColumnType::Int { .. }),
        ) => match exact_number(text) {
            Some(number) => Expression::Literal(number),
            None => literal,
        },
        _ => literal,
    }
}

fn comparison(op: &BinaryOperator) -> Option<Comparison> {
    Some(match op {
        BinaryOperator::Eq => Comparison::Equal,
        BinaryOperator::NotEq => Comparison::NotEqual,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessOrEqual,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn operation(op: &BinaryOperator) -> Option<Arithmetic> {
    Some(match op {
        BinaryOperator::Plus => Arithmetic::Add,
        BinaryOperator::Minus => Arithmetic::Subtract,
        BinaryOperator::Multiply => Arithmetic::Multiply,
        BinaryOperator::Divide => Arithmetic::Divide,
        BinaryOperator::Modulo => Arithmetic::Modulo,
        BinaryOperator::MyIntegerDivide => Arithmetic::IntegerDivide,
        BinaryOperator::BitwiseAnd => Arithmetic::BitAnd,
        BinaryOperator::BitwiseOr => Arithmetic::BitOr,
        BinaryOperator::BitwiseXor | BinaryOperator::PGBitwiseXor => Arithmetic::BitXor,
        BinaryOperator::PGBitwiseShiftLeft => Arithmetic::ShiftLeft,
        BinaryOperator::PGBitwiseShiftRight => Arithmetic::ShiftRight,
        _ => return None,
    })
}

/// The character that ESCAPE names; the regular one without it, none if it is empty.
fn escape(clause: Option<ValueWithSpan>) -> Result<Option<char>, SqlError> {
    let Some(clause) = clause else { return Ok(Some(REGULAR_ESCAPE)) };
    let text = match of_value(&clause) {
        Some(Value::Text(text)) => text,
        _ => return Err(unsupported_at("this ESCAPE", clause.span.start)),
    };
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (one, None) => Ok(one),
        _ => Err(SqlError::new(ErrorCode::WrongArguments, "Incorrect arguments to ESCAPE")),
    }
}
