//! Reading our own statements word by word, on the parser's tokens.

use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Word};

use super::source::Refusal;
use crate::statement::TableName;

/// What our own statements read, beside what the parser offers.
pub(super) trait Words {
    /// Where the next token begins.
    fn place(&self) -> Location;
    /// Whether the next token is this word, without case.
    fn at(&self, word: &str) -> bool;
    /// Takes this word if it is next.
    fn take(&mut self, word: &str) -> bool;
    /// Takes these words if all are next.
    fn take_all(&mut self, words: &[&str]) -> bool;
    /// Takes this word, or refuses.
    fn want(&mut self, word: &'static str) -> Result<(), Refusal>;
    /// Takes a sign if it is next.
    fn take_sign(&mut self, sign: &Token) -> bool;
    /// Takes a sign, or refuses.
    fn want_sign(&mut self, sign: &Token, name: &'static str) -> Result<(), Refusal>;
    /// Takes a name, quoted or not.
    fn name(&mut self, what: &'static str) -> Result<String, Refusal>;
    /// Takes text in quotes.
    fn text(&mut self, what: &'static str) -> Result<String, Refusal>;
    /// Takes text in quotes, or a name.
    fn text_or_name(&mut self, what: &'static str) -> Result<String, Refusal>;
    /// Takes a whole number of this range.
    fn number(&mut self, what: &'static str, range: std::ops::RangeInclusive<u64>) -> Result<u64, Refusal>;
    /// Takes `[db.]table`.
    fn table_name(&mut self) -> Result<TableName, Refusal>;
    /// Whether nothing is left.
    fn at_end(&self) -> bool;
    /// Refuses the next token.
    fn refuse<T>(&self, expected: &'static str) -> Result<T, Refusal>;
    /// Says that what comes next is not supported.
    fn unsupported<T>(&self, what: &str) -> Result<T, Refusal>;
}

fn is_word(token: &Token, wanted: &str) -> bool {
    matches!(token, Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(wanted))
}

impl Words for Parser<'_> {
    fn place(&self) -> Location {
        self.peek_token_ref().span.start
    }

    fn at(&self, word: &str) -> bool {
        is_word(&self.peek_token_ref().token, word)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.at(word);
        if found {
            self.advance_token();
        }
        found
    }

    fn take_all(&mut self, words: &[&str]) -> bool {
        let found =
            words.iter().enumerate().all(|(n, word)| is_word(&self.peek_nth_token_ref(n).token, word));
        if found {
            words.iter().for_each(|_| self.advance_token());
        }
        found
    }

    fn want(&mut self, word: &'static str) -> Result<(), Refusal> {
        if self.take(word) { Ok(()) } else { self.refuse(word) }
    }

    fn take_sign(&mut self, sign: &Token) -> bool {
        self.consume_token(sign)
    }

    fn want_sign(&mut self, sign: &Token, name: &'static str) -> Result<(), Refusal> {
        if self.consume_token(sign) { Ok(()) } else { self.refuse(name) }
    }

    fn name(&mut self, what: &'static str) -> Result<String, Refusal> {
        match &self.peek_token_ref().token {
            Token::Word(word) => {
                let name = word.value.clone();
                self.advance_token();
                Ok(name)
            }
            _ => self.refuse(what),
        }
    }

    fn text(&mut self, what: &'static str) -> Result<String, Refusal> {
        match &self.peek_token_ref().token {
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => {
                let text = text.clone();
                self.advance_token();
                Ok(text)
            }
            _ => self.refuse(what),
        }
    }

    fn text_or_name(&mut self, what: &'static str) -> Result<String, Refusal> {
        if matches!(self.peek_token_ref().token, Token::Word(_)) { self.name(what) } else { self.text(what) }
    }

    fn number(&mut self, what: &'static str, range: std::ops::RangeInclusive<u64>) -> Result<u64, Refusal> {
        let number = match &self.peek_token_ref().token {
            Token::Number(digits, _) => digits.parse().ok().filter(|number| range.contains(number)),
            _ => None,
        };
        let Some(number) = number else { return self.refuse(what) };
        self.advance_token();
        Ok(number)
    }

    fn table_name(&mut self) -> Result<TableName, Refusal> {
        let first = self.name("a table")?;
        if self.consume_token(&Token::Period) {
            Ok(TableName { database: Some(first), table: self.name("a table")? })
        } else {
            Ok(TableName { database: None, table: first })
        }
    }

    fn at_end(&self) -> bool {
        matches!(self.peek_token_ref().token, Token::EOF | Token::SemiColon)
    }

    fn refuse<T>(&self, expected: &'static str) -> Result<T, Refusal> {
        Err(Refusal::Expected(expected, self.place()))
    }

    fn unsupported<T>(&self, what: &str) -> Result<T, Refusal> {
        Err(Refusal::Unsupported(what.to_owned(), self.place()))
    }
}
