//! What will happen, in order of time; what comes at the same moment comes in the order in which it was queued.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Time;

/// Events to come. The heap moves small numbers only; the events lie still beside it.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<(Time, u64, u32)>>,
    events: Vec<Option<E>>,
    free: Vec<u32>,
    count: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), events: Vec::new(), free: Vec::new(), count: 0 }
    }
}

impl<E> Queue<E> {
    /// Lets an event happen at this time.
    pub fn push(&mut self, at: Time, event: E) {
        let place = match self.free.pop() {
            Some(place) => {
                self.events[place as usize] = Some(event);
                place
            }
            None => {
                self.events.push(Some(event));
                self.events.len() as u32 - 1
            }
        };
        self.count += 1;
        self.heap.push(Reverse((at, self.count, place)));
    }

    /// The next event and its time.
    pub fn pop(&mut self) -> Option<(Time, E)> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.free.push(place);
        Some((at, self.events[place as usize].take()?))
    }

    /// How many events there were so far, those to come included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_turn() {
        let mut queue = Queue::default();
        for (at, name) in [(5, "d"), (1, "a"), (3, "b"), (3, "c")] {
            queue.push(at, name);
        }
        assert_eq!(queue.pop(), Some((1, "a")));
        queue.push(2, "soon");
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, name)| name).collect();
        assert_eq!(rest, ["soon", "b", "c", "d"]);
    }
}
