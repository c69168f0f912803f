//! What the files of a phase make, and from which statement on.

use std::collections::BTreeMap;

use squawk_syntax::{SyntaxKind, SyntaxNode};

use crate::tree::{self, TableName};

/// Tables and columns that nobody uses yet, each with the number of the statement that makes it.
#[derive(Default)]
pub struct Known {
    tables: BTreeMap<TableName, usize>,
    columns: BTreeMap<(TableName, String), usize>,
    /// Tables of which a constraint was validated.
    validated: BTreeMap<TableName, usize>,
    statements: usize,
}

impl Known {
    /// Reads the statements of the next file; the number of the first one.
    pub fn read(&mut self, statements: &[SyntaxNode]) -> usize {
        let first = self.statements;
        for statement in statements {
            let number = self.statements;
            self.statements += 1;
            match statement.kind() {
                // With IF NOT EXISTS it may have been there before.
                SyntaxKind::CREATE_TABLE | SyntaxKind::CREATE_TABLE_AS
                    if tree::child(statement, SyntaxKind::IF_NOT_EXISTS).is_none() =>
                {
                    for table in tree::targets(statement) {
                        self.tables.entry(table).or_insert(number);
                    }
                }
                SyntaxKind::ALTER_TABLE => {
                    let table = tree::targets(statement).into_iter().next();
                    if let Some(table) = &table
                        && tree::contains(statement, SyntaxKind::VALIDATE_CONSTRAINT)
                    {
                        self.validated.entry(table.clone()).or_insert(number);
                    }
                    for added in tree::all(statement, SyntaxKind::ADD_COLUMN) {
                        let name = tree::child(&added, SyntaxKind::COLUMN_NAME);
                        let name = name.and_then(|name| tree::name(&name));
                        if let (Some(table), Some(name)) = (&table, name)
                            && tree::child(&added, SyntaxKind::IF_NOT_EXISTS).is_none()
                        {
                            self.columns.entry((table.clone(), name)).or_insert(number);
                        }
                    }
                }
                _ => {}
            }
        }
        first
    }

    /// Whether nobody but these files uses the table when this statement runs.
    pub fn is_new(&self, table: &TableName, statement: usize) -> bool {
        self.tables.get(table).is_some_and(|made| *made < statement)
    }

    /// Whether a constraint of it was validated before: then it is the one that SET NOT NULL needs.
    pub fn is_validated(&self, table: &TableName, statement: usize) -> bool {
        let made = self.validated.get(table);
        made.is_some_and(|made| *made < statement)
    }

    /// The same of all tables that a statement changes.
    pub fn are_new(&self, tables: &[TableName], statement: usize) -> bool {
        !tables.is_empty() && tables.iter().all(|table| self.is_new(table, statement))
    }

    /// Whether nobody but these files uses the column when this statement runs.
    pub fn has_new_column(&self, table: &TableName, column: &str, statement: usize) -> bool {
        let key = (table.clone(), column.to_owned());
        self.is_new(table, statement)
            || self.columns.get(&key).is_some_and(|made| *made < statement)
    }
}
