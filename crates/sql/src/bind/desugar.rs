//! One node of the parser's tree in plainer words: special syntax becomes calls of functions, and what depends on the
//! session or the clock becomes a value.
//!
//! Both ways to compute an expression, our evaluator and DataFusion, begin here, so that they mean the same.

use baton_model::errors::{ErrorCode, SqlError};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, CeilFloorKind, CharacterLength, DataType, DateTimeField, ExactNumberInfo, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, Interval,
    ObjectName, Spanned, TrimWhereField, UnaryOperator, Value,
};
use datafusion::sql::sqlparser::tokenizer::Location;

use super::Context;

use crate::expression::calendar::{self, DAY_US, SECOND_US, Unit};
use crate::parse::unsupported_at;
use crate::variables;

/// A text as an expression.
pub(crate) fn text(text: impl Into<String>) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.into()).into())
}

/// A number as an expression.
pub(crate) fn number(number: impl ToString) -> Expr {
    Expr::Value(Value::Number(number.to_string(), false).into())
}

fn null() -> Expr {
    Expr::Value(Value::Null.into())
}

/// A value as the parser would have read it.
pub(crate) fn literal_of(value: &crate::expression::Value<'_>) -> Expr {
    use crate::expression::Value as Given;
    let signed = |digits: String| match digits.strip_prefix('-') {
        Some(digits) => Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(number(digits)) },
        None => number(digits),
    };
    match value.borrowed() {
        Given::Null => null(),
        // The exponent makes it a double again.
        Given::Double(v) => signed(format!("{v:e}")),
        Given::Bytes(v) => {
            let digits = v.iter().map(|byte| format!("{byte:02X}")).collect();
            Expr::Value(Value::HexStringLiteral(digits).into())
        }
        numeric @ (Given::Int(_) | Given::UInt(_) | Given::Decimal(..)) => {
            signed(numeric.into_text().unwrap_or_default().into_owned())
        }
        other => text(other.into_text().unwrap_or_default()),
    }
}

/// A call of a function.
pub(crate) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args =
        arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Makes the outermost syntax of an expression plain; what is inside stays as it is.
///
/// # Errors
/// 1193 for an unknown variable, 1235 for what is not supported.
pub(crate) fn desugar(expr: &mut Expr, context: &Context<'_>) -> Result<(), SqlError> {
    while let Expr::Nested(inner) | Expr::Collate { expr: inner, .. } | Expr::Prefixed { value: inner, .. } =
        expr
    {
        *expr = std::mem::replace(&mut **inner, null());
    }
    let place = place(expr);
    let plain = match expr {
        Expr::Value(value) => match &value.value {
            Value::Boolean(truth) => number(u8::from(*truth)),
            Value::DoubleQuotedString(quoted) | Value::NationalStringLiteral(quoted) => text(quoted.clone()),
            _ => return Ok(()),
        },
        Expr::TypedString(typed) => {
            let inner = Expr::Value(typed.value.clone());
            cast(inner, &typed.data_type)
                .ok_or_else(|| unsupported_at(&typed.data_type.to_string(), place))?
        }
        Expr::Cast { kind: CastKind::Cast, expr: inner, data_type, array: false, format: None } => {
            cast(take(inner), data_type)
                .ok_or_else(|| unsupported_at(&format!("CAST AS {data_type}"), place))?
        }
        Expr::Convert { expr: inner, data_type: Some(data_type), is_try: false, .. } => {
            cast(take(inner), data_type)
                .ok_or_else(|| unsupported_at(&format!("CONVERT to {data_type}"), place))?
        }
        // Everything is UTF-8.
        Expr::Convert { expr: inner, charset: Some(_), is_try: false, .. } => {
            call("__char", vec![take(inner)])
        }
        Expr::Extract { field, expr: inner, .. } => {
            let name = field_name(field);
            match Unit::parse(&name) {
                Some(unit) if unit != Unit::Week => call(&name.to_lowercase(), vec![take(inner)]),
                _ => return Err(unsupported_at(&format!("EXTRACT({name})"), place)),
            }
        }
        Expr::Ceil { expr: inner, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
            call("ceil", vec![take(inner)])
        }
        Expr::Floor { expr: inner, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
            call("floor", vec![take(inner)])
        }
        Expr::Position { expr: inner, r#in } => call("locate", vec![take(inner), take(r#in)]),
        Expr::Substring { expr: inner, substring_from, substring_for, .. } => {
            let from = substring_from.as_mut().map_or_else(|| number(1), take);
            let mut arguments = vec![take(inner), from];
            arguments.extend(substring_for.as_mut().map(take));
            call("substring", arguments)
        }
        Expr::Trim { trim_where, trim_what, expr: inner, trim_characters: None } => {
            let side = match trim_where {
                Some(TrimWhereField::Leading) => "LEADING",
                Some(TrimWhereField::Trailing) => "TRAILING",
                Some(TrimWhereField::Both) | None => "BOTH",
            };
            let what = trim_what.as_mut().map_or_else(|| text(" "), take);
            call("__trim", vec![text(side), what, take(inner)])
        }
        Expr::UnaryOp { op: op @ UnaryOperator::BangNot, .. } => {
            *op = UnaryOperator::Not;
            return Ok(());
        }
        Expr::BinaryOp { left, op, right } => match (&**left, &*op, &**right) {
            // `||` is OR, unless the mode says otherwise, which it cannot here.
            (_, BinaryOperator::StringConcat, _) => {
                *op = BinaryOperator::Or;
                return Ok(());
            }
            (_, BinaryOperator::Plus | BinaryOperator::Minus, Expr::Interval(interval)) => {
                let name = if *op == BinaryOperator::Plus { "__date_add" } else { "__date_sub" };
                let moved = moved(name, (**left).clone(), interval)?;
                *expr = moved;
                return Ok(());
            }
            (Expr::Interval(interval), BinaryOperator::Plus, _) => {
                let moved = moved("__date_add", (**right).clone(), interval)?;
                *expr = moved;
                return Ok(());
            }
            _ => return Ok(()),
        },
        Expr::Identifier(name) if name.quote_style.is_none() => match name.value.strip_prefix('@') {
            Some(variable) => variable_value(variable, None, context)?,
            None => match bare_function(&name.value, context) {
                Some(value) => value,
                None => return Ok(()),
            },
        },
        Expr::CompoundIdentifier(names) => match names.as_slice() {
            [scope, variable] if scope.value.starts_with("@@") => {
                variable_value(&format!("@{}", variable.value), Some(&scope.value[2..]), context)?
            }
            _ => return Ok(()),
        },
        Expr::Function(function) => match function_value(function, context)? {
            Some(value) => value,
            None => return Ok(()),
        },
        Expr::Interval(_) => return Err(unsupported_at("INTERVAL here", place)),
        _ => return Ok(()),
    };
    *expr = plain;
    Ok(())
}

/// Where an expression begins, if it is one that is refused at times; others are not asked, because asking costs.
fn place(expr: &Expr) -> Location {
    match expr {
        Expr::TypedString(_)
        | Expr::Cast { .. }
        | Expr::Convert { .. }
        | Expr::Extract { .. }
        | Expr::Interval(_) => expr.span().start,
        _ => Location::empty(),
    }
}

fn take(expr: &mut Box<Expr>) -> Expr {
    std::mem::replace(&mut **expr, null())
}

fn field_name(field: &DateTimeField) -> String {
    let name = field.to_string().to_uppercase();
    name.strip_suffix('S')
        .filter(|singular| Unit::parse(singular).is_some())
        .map_or(name.clone(), str::to_owned)
}

/// `moment ± INTERVAL n unit` as a call.
fn moved(function: &str, moment: Expr, interval: &Interval) -> Result<Expr, SqlError> {
    let place = interval.value.span().start;
    let unit = interval.leading_field.as_ref().map(field_name).unwrap_or_default();
    if Unit::parse(&unit).is_none() || interval.last_field.is_some() {
        return Err(unsupported_at(&format!("INTERVAL … {unit}"), place));
    }
    Ok(call(function, vec![moment, (*interval.value).clone(), text(unit)]))
}

/// A value turned into another type; None if there is no such cast.
fn cast(inner: Expr, data_type: &DataType) -> Option<Expr> {
    let name = match data_type {
        DataType::Signed
        | DataType::SignedInteger
        | DataType::TinyInt(_)
        | DataType::SmallInt(_)
        | DataType::MediumInt(_)
        | DataType::Int(_)
        | DataType::Integer(_)
        | DataType::BigInt(_) => "__signed",
        DataType::Unsigned
        | DataType::UnsignedInteger
        | DataType::IntUnsigned(_)
        | DataType::IntegerUnsigned(_)
        | DataType::BigIntUnsigned(_) => "__unsigned",
        DataType::Char(length)
        | DataType::Character(length)
        | DataType::Varchar(length)
        | DataType::CharVarying(length)
        | DataType::Nvarchar(length) => {
            let mut arguments = vec![inner];
            if let Some(CharacterLength::IntegerLength { length, .. }) = length {
                arguments.push(number(length));
            }
            return Some(call("__char", arguments));
        }
        DataType::Text | DataType::JSON => "__char",
        DataType::Binary(_) | DataType::Varbinary(_) | DataType::Blob(_) => "__binary",
        DataType::Decimal(info) | DataType::Numeric(info) | DataType::Dec(info) => {
            let (precision, scale) = match info {
                ExactNumberInfo::None => (10, 0),
                ExactNumberInfo::Precision(precision) => (*precision, 0),
                ExactNumberInfo::PrecisionAndScale(precision, scale) => {
                    (*precision, (*scale).max(0).cast_unsigned())
                }
            };
            if precision > 38 || scale > 30 || scale > precision {
                return None;
            }
            return Some(call("__decimal", vec![inner, number(precision), number(scale)]));
        }
        DataType::Double(_)
        | DataType::DoublePrecision
        | DataType::Float(_)
        | DataType::Real
        | DataType::Float8
        | DataType::Float4 => "__double",
        DataType::Date => "__date",
        DataType::Datetime(_) | DataType::Timestamp(..) => "__datetime",
        _ => return None,
    };
    Some(call(name, vec![inner]))
}

/// The value of a variable, `name` or `@name` of a system variable.
fn variable_value(name: &str, scope: Option<&str>, context: &Context<'_>) -> Result<Expr, SqlError> {
    let Some(system) = name.strip_prefix('@') else {
        // A variable of the user's own; NULL before it is set.
        return Ok(context
            .session
            .user_variables
            .get(&name.to_ascii_lowercase())
            .map_or_else(null, literal_of));
    };
    let global = scope.is_some_and(|scope| scope.eq_ignore_ascii_case("global"));
    let value = variables::value(context, system, global).ok_or_else(|| {
        SqlError::new(ErrorCode::UnknownVariable, format!("Unknown system variable '{system}'"))
    })?;
    Ok(typed(&value))
}

/// A variable's text as the number that it is, if it is one; ON and OFF are 1 and 0.
fn typed(value: &str) -> Expr {
    match value {
        "ON" => number(1),
        "OFF" => number(0),
        _ if !value.is_empty() && value.len() < 20 && value.bytes().all(|byte| byte.is_ascii_digit()) => {
            number(value)
        }
        _ => text(value),
    }
}

/// A function that is written without parentheses.
fn bare_function(name: &str, context: &Context<'_>) -> Option<Expr> {
    match name.to_ascii_lowercase().as_str() {
        name @ ("current_timestamp" | "current_date" | "current_time" | "current_user" | "localtime"
        | "localtimestamp" | "utc_timestamp" | "utc_date" | "utc_time") => session_value(name, 0, context),
        _ => None,
    }
}

/// The value of a function that asks the session or the clock.
fn session_value(name: &str, arguments: usize, context: &Context<'_>) -> Option<Expr> {
    let session = context.session;
    let now = session.now_us;
    Some(match (name, arguments) {
        ("now" | "current_timestamp" | "localtime" | "localtimestamp" | "sysdate" | "utc_timestamp", 0) => {
            // Without a precision the clock has whole seconds.
            call("__datetime", vec![text(calendar::datetime_text(now - now.rem_euclid(SECOND_US)))])
        }
        ("now" | "current_timestamp" | "localtime" | "localtimestamp" | "sysdate" | "utc_timestamp", 1) => {
            call("__datetime", vec![text(calendar::datetime_text(now))])
        }
        ("curdate" | "current_date" | "utc_date", 0) => {
            let days = i32::try_from(now.div_euclid(DAY_US)).unwrap_or(0);
            call("__date", vec![text(calendar::date_text(days))])
        }
        ("curtime" | "current_time" | "utc_time", 0 | 1) => text(calendar::time_text(now)),
        ("unix_timestamp", 0) => number(now.div_euclid(SECOND_US).max(0)),
        ("database" | "schema", 0) => session.database.as_ref().map_or_else(null, text),
        ("user" | "current_user" | "session_user" | "system_user", 0) => text(&session.user),
        ("version", 0) => text(baton_model::SERVER_VERSION),
        ("connection_id", 0) => number(session.connection_id),
        ("last_insert_id", 0) => number(session.last_insert_id),
        _ => return None,
    })
}

/// What a call with special syntax or meaning stands for; None if it is an ordinary one.
fn function_value(function: &mut Function, context: &Context<'_>) -> Result<Option<Expr>, SqlError> {
    let name = match function.name.0.as_slice() {
        [part] => part.as_ident().map(|ident| ident.value.to_ascii_lowercase()).unwrap_or_default(),
        _ => return Ok(None),
    };
    let none = &mut Vec::new();
    let arguments = match &mut function.args {
        FunctionArguments::List(list) => &mut list.args,
        _ => none,
    };
    if let Some(value) = session_value(&name, arguments.len(), context) {
        return Ok(Some(value));
    }
    let argument = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    match (name.as_str(), arguments.as_mut_slice()) {
        ("date_add" | "adddate" | "date_sub" | "subdate", [moment, interval]) => {
            let function =
                if name.ends_with("add") || name.starts_with("add") { "__date_add" } else { "__date_sub" };
            match (argument(moment), argument(interval)) {
                (Some(moment), Some(Expr::Interval(interval))) => {
                    moved(function, moment, &interval).map(Some)
                }
                (Some(moment), Some(days)) => Ok(Some(call(function, vec![moment, days, text("DAY")]))),
                _ => Ok(None),
            }
        }
        ("from_unixtime", [seconds, pattern]) => match (argument(seconds), argument(pattern)) {
            (Some(seconds), Some(pattern)) => {
                Ok(Some(call("date_format", vec![call("from_unixtime", vec![seconds]), pattern])))
            }
            _ => Ok(None),
        },
        ("rand", [_]) => Err(unsupported_at("RAND with a seed", function.name.span().start)),
        ("timestampadd", [unit, amount, moment]) => {
            match (argument(unit), argument(amount), argument(moment)) {
                (Some(Expr::Identifier(unit)), Some(amount), Some(moment))
                    if Unit::parse(&unit.value).is_some() =>
                {
                    Ok(Some(call("__date_add", vec![moment, amount, text(unit.value.to_uppercase())])))
                }
                _ => Ok(None),
            }
        }
        ("timestampdiff", [unit, ..]) => {
            if let Some(Expr::Identifier(word)) = argument(unit)
                && Unit::parse(&word.value).is_some()
            {
                *unit = FunctionArg::Unnamed(FunctionArgExpr::Expr(text(word.value.to_uppercase())));
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}
