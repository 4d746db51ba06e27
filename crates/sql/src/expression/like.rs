//! LIKE: `%` stands for any text, `_` for one character.

/// The character that takes a wildcard its meaning, where no ESCAPE names another.
pub(crate) const REGULAR_ESCAPE: char = '\\';

enum Piece {
    /// `%`
    Any,
    /// `_`
    One,
    Just(char),
}

/// A pattern, ready to be matched.
pub(crate) struct Pattern(Vec<Piece>);

impl Pattern {
    pub(crate) fn new(pattern: &str, escape: Option<char>) -> Self {
        let mut pieces = Vec::with_capacity(pattern.len());
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            pieces.push(if Some(c) == escape {
                Piece::Just(chars.next().unwrap_or(c))
            } else if c == '%' {
                Piece::Any
            } else if c == '_' {
                Piece::One
            } else {
                Piece::Just(c)
            });
        }
        Self(pieces)
    }

    /// Whether the whole text fits. Takes at most (length of text) × (length of pattern) steps: after a mismatch only
    /// the last `%` takes one character more.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at_text, mut at_piece) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while at_text < text.len() {
            let fits = match self.0.get(at_piece) {
                Some(Piece::Any) => {
                    retry = Some((at_text, at_piece));
                    at_piece += 1;
                    continue;
                }
                Some(Piece::One) => true,
                Some(Piece::Just(c)) => *c == text[at_text],
                None => false,
            };
            if fits {
                at_text += 1;
                at_piece += 1;
            } else if let Some((taken, any)) = retry {
                retry = Some((taken + 1, any));
                at_text = taken + 1;
                at_piece = any + 1;
            } else {
                return false;
            }
        }
        self.0[at_piece..].iter().all(|piece| matches!(piece, Piece::Any))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        for (text, pattern, matches) in [
            ("", "", true),
            ("", "%", true),
            ("a", "", false),
            ("abc", "a%", true),
            ("abc", "%b%", true),
            ("abc", "a_c", true),
            ("abc", "a_", false),
            ("aXbXc", "%X%X%", true),
            ("aaab", "%ab", true),
            ("100%", "100\\%", true),
            ("1000", "100\\%", false),
            ("grüße", "gr__e", true),
            ("abc", "ABC", false),
        ] {
            assert_eq!(
                Pattern::new(pattern, Some(REGULAR_ESCAPE)).matches(text),
                matches,
                "{text} LIKE {pattern}"
            );
        }
    }
}
