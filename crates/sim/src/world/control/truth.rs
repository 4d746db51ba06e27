//! What is committed in the control group, and what it comes to: each entry is applied once for the whole world.

use std::rc::Rc;

use baton_catalog::{Catalog, Outcome};
use baton_model::CatalogIndex;

use super::LogEntry;

/// What is committed, and what it comes to.
#[derive(Debug)]
pub struct Truth {
    /// The committed log.
    pub log: Vec<LogEntry>,
    /// The catalog after each index; the first is the empty one.
    pub catalogs: Vec<Rc<Catalog>>,
    pub(super) outcomes: Vec<Option<Outcome>>,
}

impl Default for Truth {
    fn default() -> Self {
        Self { log: Vec::new(), catalogs: vec![Rc::new(Catalog::default())], outcomes: Vec::new() }
    }
}

impl Truth {
    /// The newest catalog that is committed anywhere.
    pub fn catalog(&self) -> &Rc<Catalog> {
        self.catalogs.last().expect("there is always the empty one")
    }

    /// The last index.
    pub fn index(&self) -> u64 {
        self.log.len() as u64
    }

    /// Takes in an entry that a member has seen committed. False if another one was committed at its index.
    pub(super) fn commit(&mut self, index: u64, entry: &LogEntry) -> bool {
        if let Some(known) = self.log.get(index as usize - 1) {
            return known.term == entry.term;
        }
        assert_eq!(index, self.index() + 1, "a member commits in order");
        let mut outcome = None;
        let mut catalog = Rc::clone(self.catalog());
        if let Some(entry) = &entry.entry {
            let mut next = Catalog::clone(&catalog);
            outcome = Some(next.apply(CatalogIndex(index), entry).outcome);
            catalog = Rc::new(next);
        }
        self.log.push(entry.clone());
        self.catalogs.push(catalog);
        self.outcomes.push(outcome);
        true
    }
}
