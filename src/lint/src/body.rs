//! What stands inside of functions and blocks.

use squawk_syntax::{
    SyntaxKind, SyntaxNode,
    ast::{self, AstNode as _},
};

use crate::{Raw, tree};

/// What a function does when it is called, as far as it matters.
pub fn look(statement: &SyntaxNode) -> Option<Raw> {
    let node = statement.clone();
    let (plpgsql, sql) = match statement.kind() {
        SyntaxKind::CREATE_FUNCTION => {
            let function = ast::CreateFunction::cast(node)?;
            (function.plpgsql(), function.sql_body())
        }
        SyntaxKind::CREATE_PROCEDURE => {
            let procedure = ast::CreateProcedure::cast(node)?;
            (procedure.plpgsql(), procedure.sql_body())
        }
        _ => return None,
    };
    let opaque = |why: &str| Some(Raw::new("opaque-function", tree::start(statement)).saying(why));
    if let Some(body) = plpgsql {
        return match judge(&body.syntax(), !body.errors().is_empty()) {
            Some(why) => opaque(why),
            None => None,
        };
    }
    if let Some(body) = sql {
        return match judge(&body.syntax(), !body.errors().is_empty()) {
            Some(why) => opaque(why),
            None => None,
        };
    }
    // BEGIN ATOMIC and RETURN stand in the statement itself, and change no schema.
    if tree::child(statement, SyntaxKind::FUNC_OPTION_LIST)
        .is_some_and(|options| tree::contains(&options, SyntaxKind::AS_FUNC_OPTION))
    {
        return opaque("it is in another language, or it cannot be read");
    }
    None
}

fn judge(body: &SyntaxNode, has_errors: bool) -> Option<&'static str> {
    if has_errors {
        return Some("its body cannot be read");
    }
    body.descendants().find_map(|node| match node.kind() {
        SyntaxKind::PLPGSQL_DYN_EXECUTE_STMT | SyntaxKind::PLPGSQL_RETURN_QUERY_EXECUTE_STMT => {
            Some("it runs text as SQL (EXECUTE)")
        }
        SyntaxKind::DO => Some("it runs a block"),
        kind if changes_the_schema(kind) => Some("it changes the schema"),
        _ => None,
    })
}

/// By the name of its kind: there are two hundred.
fn changes_the_schema(kind: SyntaxKind) -> bool {
    let name = format!("{kind:?}");
    ast::Stmt::can_cast(kind)
        && (["CREATE_", "ALTER_", "DROP_"]
            .iter()
            .any(|verb| name.starts_with(verb))
            || matches!(kind, SyntaxKind::TRUNCATE | SyntaxKind::LOCK))
}
