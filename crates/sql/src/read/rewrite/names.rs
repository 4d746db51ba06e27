//! Names: all written small for the planner, and given back as the client wrote them.
//!
//! The first spelling of a name wins. A database keeps its case; only `information_schema` has none.
//!
//! Not here: names of items that nobody named (`item_name` in `shortcut.rs`).

use std::collections::BTreeMap;

use datafusion::common::DFSchema;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, ObjectNamePart, TableAlias};

use super::Rewriter;
use crate::bind::INFORMATION_SCHEMA;

/// What the result's columns are called.
pub(in crate::read) struct Names {
    /// The name of each item of the outermost SELECT list; None is a wildcard.
    pub(super) items: Vec<Option<String>>,
    /// Names as they were written or declared, by the name in lower case.
    pub(super) spelled: BTreeMap<String, String>,
}

impl Names {
    /// The names of these columns.
    pub(in crate::read) fn of(&self, schema: &DFSchema) -> Vec<String> {
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

impl Rewriter<'_> {
    pub(super) fn alias(&mut self, alias: &mut TableAlias) {
        lower(&mut alias.name);
        for column in &mut alias.columns {
            self.spell(&column.name.value);
            lower(&mut column.name);
        }
    }

    /// Remembers how a name is written. The first one wins.
    pub(super) fn spell(&mut self, name: &str) {
        self.spelled.entry(name.to_lowercase()).or_insert_with(|| name.to_owned());
    }
}

pub(super) fn lower(name: &mut Ident) {
    name.value = name.value.to_lowercase();
    name.quote_style = None;
}

/// The last part of a name in lower case; a database before it keeps its case.
pub(super) fn lower_last(name: &mut ObjectName) {
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
