//! What an error of the client says about a write: whether it happened, and whether the same
//! write may succeed later.

use kube::core::Status;

use crate::{
    api::{template, text::bounded},
    cluster::WriteError,
    plan::intent::{Kind, Write},
};

/// Sorts the error that the write of `object` ended with.
#[must_use]
pub fn sort(object: &str, creates: bool, error: &kube::Error) -> WriteError {
    let object = object.to_owned();
    match error {
        kube::Error::Api(status) => sort_status(object, creates, status),
        // Nothing was sent.
        kube::Error::Auth(_)
        | kube::Error::BuildRequest(_)
        | kube::Error::HttpError(_)
        | kube::Error::InferConfig(_)
        | kube::Error::TlsRequired => not_taken(object, &words(error)),
        _ if never_connected(error) => not_taken(object, &words(error)),
        _ => WriteError::Unanswered {
            object,
            message: words(error),
        },
    }
}

/// The same with field and index, where a pod template was refused in words that lack them.
#[must_use]
pub(crate) fn with_field(write: &Write, error: WriteError) -> WriteError {
    let (Write::Create { manifest, kind }, WriteError::Refused { .. }) = (write, &error) else {
        return error;
    };
    let Some((field, why)) = template::misread(&manifest["spec"]["template"]) else {
        return error;
    };
    match error {
        WriteError::Refused {
            object,
            message,
            transient: false,
        } if !message.contains(&field) => WriteError::Refused {
            object,
            message: bounded(&format!(
                "{}{field}: {why}. The API server says: {message}",
                whose(*kind)
            )),
            transient: false,
        },
        other => other,
    }
}

/// Where the template stands by which an object was made. That of a Job may come from any of several
/// fields of a Rollout, in part, so that its own is named.
fn whose(kind: Kind) -> &'static str {
    match kind {
        Kind::Job => "in the Job, spec.template.",
        _ => "spec.template.",
    }
}

fn sort_status(object: String, creates: bool, status: &Status) -> WriteError {
    let message = said(status);
    let refused = |transient| WriteError::Refused {
        object: object.clone(),
        message: message.clone(),
        transient,
    };
    match status.code {
        409 if creates && status.reason == "AlreadyExists" => WriteError::Exists { object },
        // A create meets 409 for others' objects: a quota that changed while it was counted.
        409 if creates => not_taken(object, &message),
        409 => WriteError::Conflict { object },
        // What a create does not find is its namespace, or the kind.
        404 if creates => refused(true),
        404 | 410 => WriteError::Conflict { object },
        422 if !creates && is_another(status) => WriteError::Conflict { object },
        401 | 429 => not_taken(object, &message),
        403 => refused(may_pass_later(status)),
        // 408 is a time-out, and what is below is no answer.
        408 | 0..=399 | 500.. => WriteError::Unanswered { object, message },
        _ => refused(false),
    }
}

/// Whether an update was refused because the object has another uid: in the body of a patch a
/// wrong uid is an attempt to change it.
fn is_another(status: &Status) -> bool {
    let details = status.details.as_ref();
    details.is_some_and(|d| d.causes.iter().any(|c| c.field == "metadata.uid"))
}

/// Whether a 403 says nothing about the object itself: its quota is used up, a role is missing,
/// or its namespace is going away. Other 403 are those of admission.
fn may_pass_later(status: &Status) -> bool {
    let details = status.details.as_ref();
    let terminating =
        details.is_some_and(|d| d.causes.iter().any(|c| c.reason == "NamespaceTerminating"));
    let message = &status.message;
    // The words of the quota plugin and of the authorizer; neither has a reason of its own.
    terminating
        || message.contains("exceeded quota")
        || (message.contains("is forbidden: User \"") && message.contains("\" cannot "))
}

fn said(status: &Status) -> String {
    match (status.message.is_empty(), status.reason.is_empty()) {
        // The words may repeat what is refused, however large that is.
        (false, _) => bounded(&status.message),
        (true, false) => format!("{} ({})", status.reason, status.code),
        (true, true) => format!("status {}", status.code),
    }
}

fn not_taken(object: String, message: &str) -> WriteError {
    WriteError::NotTaken {
        object,
        message: message.to_owned(),
    }
}

/// Whether the connection was never made.
fn never_connected(error: &kube::Error) -> bool {
    causes(error).any(|cause| {
        cause
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(hyper_util::client::legacy::Error::is_connect)
    })
}

/// The error and what caused it, in one line.
#[must_use]
pub fn words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return said(status);
    }
    let mut all: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        // Many errors repeat their cause in their own words.
        if !all.iter().any(|known| known.contains(&text)) {
            all.push(text);
        }
    }
    all.join(": ")
}

fn causes(error: &kube::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |e| e.source())
}
