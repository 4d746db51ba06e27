//! A part of a list that several share.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A list that is not changed, or a part of one; cloned, and cut into parts, without copying what is in it. The evidence
/// of a thousand nodes is a thousand parts of a few lists.
pub struct Shared<T> {
    /// None of an empty list, which is most of them.
    of: Option<Arc<Vec<T>>>,
    from: usize,
    to: usize,
}

impl<T> Shared<T> {
    /// A list with nothing in it.
    #[must_use]
    pub const fn empty() -> Self {
        Self { of: None, from: 0, to: 0 }
    }

    /// Takes the next entries off the front of this list.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn split_off_front(&mut self, count: usize) -> Self {
        assert!(count <= self.to - self.from, "{count} of {} entries", self.to - self.from);
        if count == 0 {
            return Self::empty();
        }
        let from = self.from;
        self.from += count;
        Self { of: self.of.clone(), from, to: self.from }
    }
}

impl<T> Deref for Shared<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.of.as_ref().map_or(&[], |of| &of[self.from..self.to])
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { of: self.of.clone(), ..*self }
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<T> From<Vec<T>> for Shared<T> {
    fn from(list: Vec<T>) -> Self {
        let to = list.len();
        Self { of: (to > 0).then(|| Arc::new(list)), from: 0, to }
    }
}

impl<T> FromIterator<T> for Shared<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        Vec::from_iter(entries).into()
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Shared<T> {}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_taken_off_the_front_until_nothing_is_left() {
        let mut left = Shared::from(vec![1, 2, 3]);
        assert_eq!(*left.split_off_front(2), [1, 2]);
        assert_eq!(*left.split_off_front(0), []);
        assert_eq!(*left.split_off_front(1), [3]);
        assert!(left.is_empty());
        assert_eq!(left, Shared::empty());
    }
}
