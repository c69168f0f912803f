//! Logs: for people or as JSON, at levels chosen by a filter.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text, coloured on a terminal.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Logs cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Not a filter.
    #[error(
        "--log-level `{filter}` is not a filter such as `info` or `info,stepgate=debug`: {cause}"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What the parser says.
        cause: tracing_subscriber::filter::ParseError,
    },
    /// Set up twice.
    #[error("logs are already set up: {0}")]
    Twice(#[from] TryInitError),
}

/// Reads a level or a list of `target=level`.
///
/// # Errors
///
/// When a part of it is neither.
pub(crate) fn parse_filter(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|cause| TelemetryError::Filter {
            filter: filter.to_owned(),
            cause,
        })
}

/// Sends the logs of this process to its standard error.
///
/// # Errors
///
/// When `filter` cannot be read, or logs are already set up.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    subscriber(
        format,
        filter,
        std::io::stderr().is_terminal(),
        std::io::stderr,
    )?
    .try_init()?;
    Ok(())
}

type Subscriber = Box<dyn tracing::Subscriber + Send + Sync>;

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    colour: bool,
    writer: W,
) -> Result<Subscriber, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parse_filter(filter)?)
        .with_ansi(colour && format == LogFormat::Human)
        .with_writer(writer);
    Ok(match format {
        LogFormat::Human => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Buffer {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = subscriber(format, filter, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(rollout = "shop", "step passed");
            tracing::debug!("detail");
        });
        buffer.text()
    }

    #[test]
    fn json_lines_are_objects_with_the_fields_on_top() {
        let text = logged(LogFormat::Json, "info");
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["message"], "step passed");
        assert_eq!(line["rollout"], "shop");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn human_lines_carry_the_fields_too() {
        let text = logged(LogFormat::Human, "info");
        assert!(
            text.contains("step passed") && text.contains("rollout=\"shop\""),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1, "debug is filtered: {text}");
    }

    #[test]
    fn a_filter_may_name_targets() {
        assert_eq!(
            logged(LogFormat::Human, "error,stepgate=debug")
                .lines()
                .count(),
            2
        );
    }

    #[test]
    fn an_unreadable_filter_names_the_flag() {
        let error = parse_filter("stepgate=loud").unwrap_err().to_string();
        assert!(error.starts_with("--log-level `stepgate=loud`"), "{error}");
    }
}
