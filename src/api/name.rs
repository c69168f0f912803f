//! How names are written.

/// A DNS label (RFC 1123) as a pattern: namespaces, and what is to be as plain as they are.
pub(crate) const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// A DNS label that begins with a letter (RFC 1035), as the name of a Service must.
pub(crate) const SERVICE_NAME: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";

/// A DNS subdomain (RFC 1123) as a pattern: what most objects may be called.
pub(crate) const OBJECT_NAME: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A flag's key, or the name of one of its variants: what is plain in a file, an annotation and a
/// command.
pub(crate) const FLAG_NAME: &str = "^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$";

/// The letters that a DNS label may have.
pub(crate) const DNS_LABEL_LENGTH: usize = 63;

/// Whether a name, of whatever length, is written as a DNS label.
#[must_use]
pub(crate) fn is_dns_label(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(plain) && name.ends_with(plain) && name.chars().all(|c| plain(c) || c == '-')
}

/// Whether an object can have this name (a DNS subdomain, RFC 1123).
#[must_use]
pub(crate) fn is_object_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_an_object_leads_elsewhere() {
        for good in ["a", "a.b", "shop-config-7d9f"] {
            assert!(is_object_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../secrets/b",
            "a?b",
            "a%2fb",
            "a..b",
            "a\n",
        ] {
            assert!(!is_object_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_dash_stands_between_letters_or_digits() {
        for good in ["a", "1", "a-b", "a--b", "7-up"] {
            assert!(is_dns_label(good), "{good}");
        }
        for bad in ["", "-", "-a", "a-", "A", "a.b", "a_b", "ä"] {
            assert!(!is_dns_label(bad), "{bad}");
        }
    }
}
