//! What looks like a credential leaves a text before it is repeated: more people may read a
//! Rollout than the logs of its Jobs.

use std::sync::LazyLock;

use regex::Regex;

/// What stands in its place.
const INSTEAD: &str = "[redacted]";

/// What is looked for, and what is kept of it. Nobody can know every form of a secret.
static FORMS: LazyLock<Vec<(Regex, String)>> = LazyLock::new(|| {
    let forms = [
        // The password of a URL.
        (
            r"://([^ \t\r\n:/@]*):[^ \t\r\n]+@",
            format!("://$1:{INSTEAD}@"),
        ),
        // A word and its value, as in settings, JSON and YAML.
        (
            r#"((?i-u:password|passwd|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credential)[A-Za-z0-9_]*["']?[ \t]*[=:][ \t]*)("[^"\n]*"|'[^'\n]*'|[^ \t\r\n,;&"']+)"#,
            format!("${{1}}{INSTEAD}"),
        ),
        (
            r"((?i-u:bearer|basic) +)[A-Za-z0-9._~+/=-]{8,}",
            format!("${{1}}{INSTEAD}"),
        ),
        // Keys and tokens that tell what they are.
        (
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(-----END [A-Z ]*PRIVATE KEY-----)?",
            INSTEAD.to_owned(),
        ),
        (r"AKIA[0-9A-Z]{16}", INSTEAD.to_owned()),
        (r"gh[pousr]_[A-Za-z0-9]{20,}", INSTEAD.to_owned()),
        (
            r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",
            INSTEAD.to_owned(),
        ),
    ];
    let compiled = forms.into_iter();
    compiled
        .filter_map(|(form, kept)| Some((Regex::new(form).ok()?, kept)))
        .collect()
});

/// The text without what looks like a credential.
#[must_use]
pub(crate) fn redacted(text: &str) -> String {
    FORMS.iter().fold(text.to_owned(), |text, (form, kept)| {
        form.replace_all(&text, kept.as_str()).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_can_be_looked_for() {
        assert_eq!(FORMS.len(), 7);
    }

    #[test]
    fn what_looks_like_a_credential_goes() {
        for (text, told) in [
            (
                "dial postgres://shop:pa/ss:w@rd@db:5432/shop failed",
                "dial postgres://shop:[redacted]@db:5432/shop failed",
            ),
            ("PGPASSWORD=abc psql", "PGPASSWORD=[redacted] psql"),
            (
                r#"{"db_password": "a b", "user": "shop"}"#,
                r#"{"db_password": [redacted], "user": "shop"}"#,
            ),
            ("client_secret: 'x y'", "client_secret: [redacted]"),
            ("API-Key=1, next", "API-Key=[redacted], next"),
            (
                "Authorization: Bearer abcdef.123456",
                "Authorization: Bearer [redacted]",
            ),
            ("key AKIAABCDEFGHIJKLMNOP", "key [redacted]"),
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nb",
                "a\n[redacted]\nb",
            ),
        ] {
            assert_eq!(redacted(text), told);
        }
    }

    #[test]
    fn what_a_person_needs_stays() {
        for text in [
            "password authentication failed for user \"shop\"",
            "ERROR: relation \"users\" does not exist at character 15",
            "dial tcp 10.0.0.1:5432: connection refused",
            "see https://docs.example/errors#token",
        ] {
            assert_eq!(redacted(text), text);
        }
    }
}
