//! Calls of functions: their names, their arguments, and the windows that they look over.
//!
//! * A function that the engine does not know is refused by its name.
//! * Aggregates get the names that DataFusion has for them, and arguments by which they mean what MySQL means.
//!
//! Not here: what the functions compute (`functions.rs` of `read`, and `expression`).

use datafusion::sql::sqlparser::ast::{
    self, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident,
    ObjectName, ObjectNamePart, Spanned, WindowFrameBound, WindowSpec, WindowType,
};

use super::expressions::take;
use super::names::lower;
use super::{Done, Rewriter, Want};
use crate::bind::{call, text};
use crate::parse::unsupported_at;
use crate::read::engine::knows;

impl Rewriter<'_> {
    pub(super) fn window(&mut self, window: &mut WindowSpec) -> Done {
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

    pub(super) fn function(&mut self, function: &mut Function) -> Done {
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

pub(super) fn is_called(function: &Function, name: &str) -> bool {
    matches!(function.name.0.as_slice(), [part] if part.as_ident().is_some_and(|of| of.value.eq_ignore_ascii_case(name)))
}

/// `AVG(x)` as `SUM(x) / COUNT(x)`, because it has the digits that any other quotient has.
pub(super) fn average(function: &Function) -> Expr {
    let named = |name: &str| {
        let name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]);
        Expr::Function(Function { name, ..function.clone() })
    };
    call("__divide", vec![named("sum"), named("count")])
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
