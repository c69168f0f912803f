//! The document and the tests agree.

#[test]
fn placeholder() {}
