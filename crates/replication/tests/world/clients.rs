//! Clients: what they write and ask again for, and which ticket is for which statement.
//!
//! Not here: what they are told, which the checks remember.

use baton_model::{Epoch, NodeId, StatementId};
use baton_replication::{Event, Instance, Write};

use super::World;

impl World {
    /// A client's write reaches a leaf.
    pub fn write(&mut self, id: NodeId, write: Write) -> u64 {
        self.write_begun_in(self.epoch_at(id), id, write)
    }

    /// A client's write whose rows a leaf read in this epoch.
    pub fn write_begun_in(&mut self, epoch: Epoch, id: NodeId, write: Write) -> u64 {
        let ticket = self.ticket(write.statement);
        self.step(id, vec![Event::Write { ticket, epoch, write }]);
        ticket
    }

    fn epoch_at(&self, id: NodeId) -> Epoch {
        self.leaves[&id].instance.as_ref().map_or(Epoch(0), Instance::epoch)
    }

    /// Many writes reach a leaf at once.
    pub fn write_all(&mut self, id: NodeId, writes: impl Iterator<Item = Write>) {
        let epoch = self.epoch_at(id);
        let events =
            writes.map(|write| Event::Write { ticket: self.ticket(write.statement), epoch, write }).collect();
        self.step(id, events);
    }

    /// A client asks again for a statement.
    pub fn await_statement(&mut self, id: NodeId, statement: StatementId) -> u64 {
        let ticket = self.ticket(statement);
        self.step(id, vec![Event::Await { ticket, statement }]);
        ticket
    }

    fn ticket(&mut self, statement: StatementId) -> u64 {
        self.tickets.push(statement);
        self.tickets.len() as u64 - 1
    }
}
