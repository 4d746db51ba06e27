//! The page that walks through the source quotes it as it is.

const PAGE: &str = include_str!("../../../docs/policies/business-hours.md");
const SOURCE: &str = include_str!("../src/lib.rs");

/// The Rust of the page, block by block.
fn quotations() -> Vec<&'static str> {
    PAGE.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

#[test]
fn the_page_quotes_the_source() {
    assert!(!quotations().is_empty());
    for quotation in quotations() {
        assert!(SOURCE.contains(quotation), "the source has no\n{quotation}");
    }
}

/// The page says that it is at most a hundred lines.
#[test]
fn the_source_is_short() {
    assert!(SOURCE.lines().count() <= 100, "{} lines", SOURCE.lines().count());
}
