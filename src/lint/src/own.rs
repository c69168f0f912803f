//! What squawk does not look at.

use std::collections::BTreeSet;

use squawk_syntax::{
    SyntaxKind, SyntaxNode,
    ast::{self, AstNode as _},
};

use crate::{
    Raw, body,
    catalogue::{self, Concerns},
    known::Known,
    rows,
    tree::{self, TableName},
};

/// A second, as the runner has it.
const LOCK_MILLISECONDS: u64 = 1_000;

/// Looks at the statements of a file; `first` is the number of the first one.
pub fn look(
    statements: &[SyntaxNode],
    first: usize,
    in_transaction: bool,
    known: &Known,
) -> Vec<Raw> {
    let mut found = Vec::new();
    let mut locked = BTreeSet::new();
    for (index, statement) in statements.iter().enumerate() {
        let targets = tree::targets(statement);
        let mut seen = Vec::new();
        one(statement, &mut seen);
        if in_transaction {
            lasting(statement, &targets, &mut locked, &mut seen);
        } else if statements.len() > 1 && tree::demands_own_transaction(statement) {
            seen.push(Raw::new("mixed-file", tree::start(statement)));
        }
        let is_new = known.are_new(&targets, first + index);
        found.extend(seen.into_iter().filter(|raw| {
            let concerns = catalogue::entry(&raw.rule).map(|entry| entry.concerns);
            let is_about_rows = raw.rule == "unbounded-insert";
            !is_new || is_about_rows || concerns != Some(Concerns::TablesInUse)
        }));
    }
    found
}

/// What a statement is by itself.
fn one(statement: &SyntaxNode, found: &mut Vec<Raw>) {
    let at = tree::start(statement);
    let mut tell = |rule: &str| found.push(Raw::new(rule, at));
    let words: Vec<SyntaxKind> = tree::words(statement).map(|word| word.kind()).collect();
    let has = |kind| words.contains(&kind);
    match statement.kind() {
        SyntaxKind::BEGIN
        | SyntaxKind::COMMIT_TRANSACTION
        | SyntaxKind::COMMIT_PREPARED
        | SyntaxKind::ROLLBACK_TRANSACTION
        | SyntaxKind::ROLLBACK_TO_SAVEPOINT
        | SyntaxKind::ROLLBACK_PREPARED
        | SyntaxKind::PREPARE_TRANSACTION
        | SyntaxKind::SAVEPOINT_CREATE
        | SyntaxKind::RELEASE_SAVEPOINT
        | SyntaxKind::SET_TRANSACTION => tell("transaction-control"),
        SyntaxKind::COPY if tree::contains(statement, SyntaxKind::COPY_STDIN) => {
            tell("copy-from-stdin");
        }
        SyntaxKind::DO => tell("opaque-block"),
        SyntaxKind::CALL | SyntaxKind::EXECUTE => tell("opaque-call"),
        SyntaxKind::LOCK if !is_weak(statement) => tell("lock-table"),
        SyntaxKind::VACUUM if has(SyntaxKind::FULL_KW) || is_full(statement) => tell("vacuum-full"),
        SyntaxKind::CLUSTER | SyntaxKind::REPACK => tell("cluster"),
        SyntaxKind::REFRESH if !has(SyntaxKind::CONCURRENTLY_KW) && !has(SyntaxKind::NO_KW) => {
            tell("refresh-materialized-view");
        }
        SyntaxKind::TRUNCATE => tell("truncate"),
        SyntaxKind::CREATE_RULE => tell("create-rule"),
        SyntaxKind::CREATE_EXTENSION => tell("create-extension"),
        SyntaxKind::CREATE_TRIGGER => tell("create-trigger"),
        SyntaxKind::DROP_OWNED => tell("drop-owned"),
        SyntaxKind::CREATE_INDEX if has(SyntaxKind::CONCURRENTLY_KW) => {
            if tree::child(statement, SyntaxKind::INDEX).is_none() {
                tell("unnamed-index");
            } else if tree::child(statement, SyntaxKind::IF_NOT_EXISTS).is_some() {
                tell("index-if-not-exists");
            }
        }
        SyntaxKind::ALTER_INDEX if tree::contains(statement, SyntaxKind::SET_TABLESPACE) => {
            tell("table-rewrite");
        }
        SyntaxKind::SET | SyntaxKind::RESET => settings(statement, found),
        SyntaxKind::ALTER_TABLE => alter_table(statement, found),
        SyntaxKind::SELECT
        | SyntaxKind::COMPOUND_SELECT
        | SyntaxKind::VALUES
        | SyntaxKind::TABLE
        | SyntaxKind::PAREN_SELECT => select(statement, found),
        kind if is_unknown(kind) => tell("unknown-statement"),
        _ => {}
    }
    lax(statement, found);
    let drops = statement.kind() == SyntaxKind::ALTER_TABLE
        || format!("{:?}", statement.kind()).starts_with("DROP_");
    if drops && tree::all(statement, SyntaxKind::CASCADE).any(|node| is_of_a_drop(&node)) {
        found.push(Raw::new("drop-cascade", at));
    }
    for node in tree::all(statement, SyntaxKind::PATH_TYPE) {
        if tree::segments(&node) == ["json"] && is_column(&node) {
            found.push(Raw::new("json-column", tree::start(&node)));
        }
    }
    let writes = matches!(
        statement.kind(),
        SyntaxKind::UPDATE | SyntaxKind::DELETE | SyntaxKind::INSERT | SyntaxKind::MERGE
    );
    if writes
        && tree::targets(statement)
            .iter()
            .any(TableName::is_of_the_catalogue)
    {
        found.push(Raw::new("catalogue-write", at));
    }
    found.extend(rows::look(statement));
    found.extend(body::look(statement));
    // A WITH clause may write as well.
    for inner in tree::all(statement, SyntaxKind::WITH_TABLE).flat_map(|with| with.children()) {
        found.extend(rows::look(&inner));
    }
}

/// What the parser takes for SQL, and PostgreSQL does not.
fn lax(statement: &SyntaxNode, found: &mut Vec<Raw>) {
    let names_nothing = format!("{:?}", statement.kind()).starts_with("DROP_")
        && statement.children().all(|child| {
            matches!(
                child.kind(),
                SyntaxKind::IF_EXISTS | SyntaxKind::CASCADE | SyntaxKind::RESTRICT
            )
        });
    if names_nothing {
        let raw = Raw::new("syntax-error", tree::start(statement));
        found.push(raw.saying("nothing is to be dropped"));
    }
    for expression in tree::all(statement, SyntaxKind::BIN_EXPR) {
        let is = tree::has_token(&expression, SyntaxKind::IS_KW)
            || tree::child(&expression, SyntaxKind::IS_NOT).is_some();
        let last = expression.children().last();
        if let Some(last) = last.filter(|last| is && last.kind() == SyntaxKind::PREFIX_EXPR) {
            let raw = Raw::new("syntax-error", tree::start(&last));
            found.push(raw.saying("IS has no such test"));
        }
    }
}

/// `CASCADE` of `ON DELETE CASCADE` is another one.
fn is_of_a_drop(cascade: &SyntaxNode) -> bool {
    cascade.parent().is_some_and(|parent| {
        let kind = format!("{:?}", parent.kind());
        kind.starts_with("DROP_")
    })
}

fn is_column(node: &SyntaxNode) -> bool {
    node.ancestors()
        .any(|outer| matches!(outer.kind(), SyntaxKind::COLUMN | SyntaxKind::ADD_COLUMN))
}

/// Modes of LOCK TABLE that no reader and no writer waits for.
fn is_weak(statement: &SyntaxNode) -> bool {
    [
        SyntaxKind::ACCESS_SHARE,
        SyntaxKind::ROW_SHARE,
        SyntaxKind::ROW_EXCLUSIVE,
    ]
    .into_iter()
    .any(|mode| tree::contains(statement, mode))
}

/// `VACUUM (FULL)`.
fn is_full(statement: &SyntaxNode) -> bool {
    tree::all(statement, SyntaxKind::VACUUM_OPTION).any(|option| {
        let words: Vec<_> = tree::words(&option)
            .map(|word| word.text().to_lowercase())
            .collect();
        words.first().is_some_and(|name| name == "full")
            && !matches!(
                words.get(1).map(String::as_str),
                Some("false" | "off" | "0")
            )
    })
}

/// Statements that are none of CREATE, ALTER and DROP, and whose effect is known or looked at above.
const KNOWN: [SyntaxKind; 27] = [
    SyntaxKind::ANALYZE,
    SyntaxKind::BEGIN,
    SyntaxKind::COMMENT_ON,
    SyntaxKind::CREATE_TABLE_AS,
    SyntaxKind::DEALLOCATE,
    SyntaxKind::DELETE,
    SyntaxKind::EMPTY_STMT,
    SyntaxKind::GRANT,
    SyntaxKind::INSERT,
    SyntaxKind::LISTEN,
    SyntaxKind::LOCK,
    SyntaxKind::MERGE,
    SyntaxKind::NOTIFY,
    SyntaxKind::PREPARE,
    SyntaxKind::REFRESH,
    SyntaxKind::REINDEX,
    SyntaxKind::RESET_ROLE,
    SyntaxKind::REVOKE,
    SyntaxKind::SELECT_INTO,
    SyntaxKind::SET_CONSTRAINTS,
    SyntaxKind::SET_ROLE,
    SyntaxKind::SHOW,
    SyntaxKind::TRUNCATE,
    SyntaxKind::UNLISTEN,
    SyntaxKind::UPDATE,
    SyntaxKind::VACUUM,
    SyntaxKind::IMPORT_FOREIGN_SCHEMA,
];

/// Of CREATE, ALTER and DROP, those that reach beyond the database's own tables.
const FAR: [SyntaxKind; 13] = [
    SyntaxKind::ALTER_EVENT_TRIGGER,
    SyntaxKind::ALTER_LARGE_OBJECT,
    SyntaxKind::ALTER_SUBSCRIPTION,
    SyntaxKind::ALTER_PUBLICATION,
    SyntaxKind::CREATE_CAST,
    SyntaxKind::CREATE_DATABASE,
    SyntaxKind::CREATE_EVENT_TRIGGER,
    SyntaxKind::CREATE_SUBSCRIPTION,
    SyntaxKind::CREATE_TRANSFORM,
    SyntaxKind::DROP_EVENT_TRIGGER,
    SyntaxKind::DROP_PUBLICATION,
    SyntaxKind::DROP_SUBSCRIPTION,
    SyntaxKind::DROP_ROLE,
];

fn is_unknown(kind: SyntaxKind) -> bool {
    let name = format!("{kind:?}");
    let is_definition = ["CREATE_", "ALTER_", "DROP_"]
        .iter()
        .any(|verb| name.starts_with(verb));
    ast::Stmt::can_cast(kind) && (FAR.contains(&kind) || !(is_definition || KNOWN.contains(&kind)))
}

/// `SET`: what it means for locks, triggers and constraints.
fn settings(statement: &SyntaxNode, found: &mut Vec<Raw>) {
    let at = tree::start(statement);
    let Some(parameter) = tree::all(statement, SyntaxKind::CONFIG_PARAMETER_REF).next() else {
        if statement.kind() == SyntaxKind::RESET {
            found.push(Raw::new("lock-timeout", at));
        }
        return;
    };
    let value = tree::all(statement, SyntaxKind::TO_CONFIG_VALUE)
        .next()
        .map(|value| {
            let words = tree::words(&value).skip(1);
            words.map(|word| word.text().to_owned()).collect::<String>()
        });
    match tree::segments(&parameter).join(".").as_str() {
        "lock_timeout" => {
            let is_short = value
                .and_then(|value| milliseconds(&value))
                .is_some_and(|value| (1..=LOCK_MILLISECONDS).contains(&value));
            if !is_short {
                found.push(Raw::new("lock-timeout", at));
            }
        }
        "session_replication_role"
        | "row_security"
        | "zero_damaged_pages"
        | "ignore_system_indexes"
        | "allow_system_table_mods" => {
            found.push(Raw::new("session-settings", at));
        }
        _ => {}
    }
}

/// A duration as the server reads it, for a setting in milliseconds.
fn milliseconds(value: &str) -> Option<u64> {
    let value = value.trim_matches('\'').trim().to_lowercase();
    let digits = value.trim_end_matches(|c: char| c.is_alphabetic() || c == ' ');
    let number: u64 = digits.parse().ok()?;
    match value[digits.len()..].trim() {
        "" | "ms" => Some(number),
        "us" => Some(number / 1_000),
        "s" => number.checked_mul(1_000),
        "min" => number.checked_mul(60_000),
        _ => None,
    }
}

fn alter_table(statement: &SyntaxNode, found: &mut Vec<Raw>) {
    let is_an_action = |kind| {
        !matches!(
            kind,
            SyntaxKind::TABLE_RELATION_NAME | SyntaxKind::IF_EXISTS
        )
    };
    if !statement.children().any(|child| is_an_action(child.kind())) {
        // The parser does not mind.
        let raw = Raw::new("syntax-error", tree::start(statement));
        found.push(raw.saying("nothing is to be altered"));
    }
    for action in statement.children() {
        let at = tree::start(&action);
        let rule = match action.kind() {
            SyntaxKind::SET_LOGGED
            | SyntaxKind::SET_UNLOGGED
            | SyntaxKind::SET_TABLESPACE
            | SyntaxKind::SET_ACCESS_METHOD
            | SyntaxKind::ALL_IN_TABLESPACE
            | SyntaxKind::SPLIT_PARTITION
            | SyntaxKind::MERGE_PARTITIONS => "table-rewrite",
            SyntaxKind::ATTACH_PARTITION => "attach-partition",
            SyntaxKind::INHERIT_TABLE => "inherit",
            SyntaxKind::OWNER_TO => "owner-change",
            SyntaxKind::ENABLE_RULE
            | SyntaxKind::DISABLE_RULE
            | SyntaxKind::ENABLE_ALWAYS_RULE
            | SyntaxKind::ENABLE_REPLICA_RULE => "create-rule",
            SyntaxKind::OF_TYPE | SyntaxKind::NOT_OF => "unknown-statement",
            SyntaxKind::ADD_COLUMN => {
                column(&action, found);
                continue;
            }
            _ => continue,
        };
        found.push(Raw::new(rule, at));
    }
}

fn column(added: &SyntaxNode, found: &mut Vec<Raw>) {
    let kind = tree::child(added, SyntaxKind::PATH_TYPE);
    let kind = kind.and_then(|kind| tree::segments(&kind).pop());
    if kind.is_some_and(|kind| {
        matches!(
            kind.as_str(),
            "serial" | "bigserial" | "smallserial" | "serial2" | "serial4" | "serial8"
        )
    }) {
        found.push(Raw::new("serial-column", tree::start(added)));
    }
    if let Some(check) = tree::child(added, SyntaxKind::CHECK_CONSTRAINT) {
        found.push(Raw::new("column-check", tree::start(&check)));
    }
}

/// Locks that last until the end of the file, with something slow under them.
fn lasting(
    statement: &SyntaxNode,
    targets: &[TableName],
    locked: &mut BTreeSet<TableName>,
    found: &mut Vec<Raw>,
) {
    let locks = match statement.kind() {
        SyntaxKind::ALTER_TABLE => statement.children().any(|action| {
            !matches!(
                action.kind(),
                SyntaxKind::VALIDATE_CONSTRAINT
                    | SyntaxKind::TABLE_RELATION_NAME
                    | SyntaxKind::IF_EXISTS
            )
        }),
        SyntaxKind::CREATE_TRIGGER
        | SyntaxKind::DROP_TRIGGER
        | SyntaxKind::CREATE_POLICY
        | SyntaxKind::DROP_POLICY
        | SyntaxKind::CREATE_RULE => true,
        SyntaxKind::LOCK => !is_weak(statement),
        _ => false,
    };
    if locks {
        locked.extend(targets.iter().cloned());
    }
    for validate in tree::all(statement, SyntaxKind::VALIDATE_CONSTRAINT) {
        if targets.iter().any(|table| locked.contains(table)) {
            let at = tree::start(&validate);
            found.push(Raw::new("validate-in-same-transaction", at));
        }
    }
}

/// Functions of the server that change nothing, or that migrations use and that do what they say.
const PLAIN: [&str; 38] = [
    "abs",
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "coalesce",
    "concat",
    "count",
    "current_database",
    "current_schema",
    "current_setting",
    "exists",
    "format",
    "generate_series",
    "greatest",
    "least",
    "left",
    "length",
    "lower",
    "max",
    "md5",
    "min",
    "now",
    "nullif",
    "obj_description",
    "pg_get_serial_sequence",
    "pg_relation_size",
    "pg_size_pretty",
    "pg_table_size",
    "quote_ident",
    "replace",
    "right",
    "row_number",
    "set_config",
    "setval",
    "string_agg",
    "sum",
    "version",
];

/// A SELECT that stands for itself: what it calls is what it is for.
fn select(statement: &SyntaxNode, found: &mut Vec<Raw>) {
    let at = tree::start(statement);
    let mut has_effect = false;
    for call in tree::all(statement, SyntaxKind::CALL_EXPR) {
        // Those with a grammar of their own (EXTRACT, TRIM) change nothing.
        let Some(callee) = call.children().next().filter(|callee| {
            matches!(callee.kind(), SyntaxKind::NAME_REF | SyntaxKind::FIELD_EXPR)
        }) else {
            continue;
        };
        let names: Vec<_> = tree::words(&callee)
            .filter(|word| word.kind() != SyntaxKind::DOT)
            .map(|word| tree::identifier(&word))
            .collect();
        let plain = match names.as_slice() {
            [name] => Some(name),
            [schema, name] if schema == "pg_catalog" => Some(name),
            _ => None,
        };
        match plain.map(String::as_str) {
            Some("set_config") => {
                has_effect = true;
                let text = tree::words(&call).map(|word| word.text().to_lowercase());
                let text: String = text.collect();
                if text.contains("lock_timeout") {
                    found.push(Raw::new("lock-timeout", at));
                } else if text.contains("session_replication_role") {
                    found.push(Raw::new("session-settings", at));
                }
            }
            Some("setval") => has_effect = true,
            Some(name) if PLAIN.contains(&name) => {}
            _ => {
                found.push(Raw::new("opaque-call", at).saying(names.join(".")));
                return;
            }
        }
    }
    let writes = tree::contains(statement, SyntaxKind::WITH_CLAUSE)
        && [
            SyntaxKind::UPDATE,
            SyntaxKind::DELETE,
            SyntaxKind::INSERT,
            SyntaxKind::MERGE,
        ]
        .into_iter()
        .any(|kind| tree::contains(statement, kind));
    if tree::contains(statement, SyntaxKind::LOCKING_CLAUSE) {
        found.push(Raw::new("lock-table", at));
    } else if !has_effect && !writes {
        found.push(Raw::new("select-result", at));
    }
}

/// Whether a constraint or index is on columns that old code does not know.
pub fn is_on_new_columns(statement: &SyntaxNode, number: usize, known: &Known) -> bool {
    let Some(table) = tree::targets(statement).into_iter().next() else {
        return false;
    };
    if statement.kind() != SyntaxKind::CREATE_INDEX {
        return false;
    }
    let items: Vec<_> = tree::all(statement, SyntaxKind::PARTITION_ITEM).collect();
    let column = |item: &SyntaxNode| {
        let inner = item.children().next()?;
        (inner.kind() == SyntaxKind::NAME_REF).then(|| tree::name(&inner))?
    };
    // NULLs do not collide, so one new column is enough.
    items
        .iter()
        .filter_map(column)
        .any(|name| known.has_new_column(&table, &name, number))
        && !tree::words(statement).any(|word| word.kind() == SyntaxKind::NULLS_KW)
}

/// Whether, in the same file, something else takes the name that a table gives up.
pub fn name_is_taken_over(statement: &SyntaxNode, statements: &[SyntaxNode]) -> bool {
    let Some(table) = tree::targets(statement).into_iter().next() else {
        return false;
    };
    let is_after =
        |other: &&SyntaxNode| other.text_range().start() > statement.text_range().start();
    let gives = |other: &SyntaxNode, name: &TableName| match other.kind() {
        SyntaxKind::ALTER_TABLE => renamed(other).as_ref() == Some(name),
        SyntaxKind::CREATE_VIEW | SyntaxKind::CREATE_TABLE => {
            let made = other.children().find_map(|child| tree::table(&child));
            made.as_ref() == Some(name)
        }
        _ => false,
    };
    // The one that goes, and the one that comes in its place.
    let goes = statements
        .iter()
        .filter(is_after)
        .any(|other| gives(other, &table));
    let comes = renamed(statement).is_some_and(|name| {
        statements.iter().any(|other| {
            other != statement
                && renamed(other).is_some()
                && tree::targets(other).first() == Some(&name)
        })
    });
    goes || comes
}

fn renamed(statement: &SyntaxNode) -> Option<TableName> {
    let rename = tree::child(statement, SyntaxKind::TABLE_RENAME_TO)?;
    let name = tree::child(&rename, SyntaxKind::TABLE_NAME)?;
    let table = tree::targets(statement).into_iter().next()?;
    Some(table.renamed(tree::segments(&name).pop()?))
}
