//! One line per request, as the load generator writes it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The header in which the shop's pods give their names.
const POD: &str = "x-pod:";

/// One request, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was sent, by the wall clock.
    pub at: SystemTime,
    /// From then to the last byte of the answer, or to the failure.
    pub latency: Duration,
    /// The answer's status; 0 where there was no answer.
    pub status: u16,
    /// What went wrong, in the load generator's words; empty if nothing.
    pub error: String,
    /// Its number: requests are written in the order in which they end.
    pub sequence: u64,
    /// The method.
    pub method: String,
    /// The address asked.
    pub url: String,
    /// The pod that answered, where it says so.
    pub pod: String,
}

/// Why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there, or cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// A line is not the load generator's.
    #[error("{0} is not the load generator's output: {1}")]
    Malformed(PathBuf, String),
}

impl Record {
    /// No answer, none in time, or an answer that this traffic never earns: a status of 400 and
    /// above.
    pub fn failed(&self) -> bool {
        self.status == 0 || self.status >= 400 || !self.error.is_empty()
    }

    /// When the answer, or the failure, was there.
    pub fn ended(&self) -> SystemTime {
        self.at + self.latency
    }

    /// Columns as in `vegeta encode -h`.
    fn parse(row: &csv::StringRecord) -> Result<Self, String> {
        let text = |column: usize| row.get(column).ok_or(format!("no column {}", column + 1));
        let number = |column: usize| -> Result<u64, String> {
            let text = text(column)?;
            text.parse()
                .map_err(|_| format!("column {}: {text:?} is no number", column + 1))
        };
        Ok(Self {
            at: SystemTime::UNIX_EPOCH + Duration::from_nanos(number(0)?),
            status: u16::try_from(number(1)?).map_err(|error| error.to_string())?,
            latency: Duration::from_nanos(number(2)?),
            error: text(5)?.to_owned(),
            sequence: number(8)?,
            method: text(9)?.to_owned(),
            url: text(10)?.to_owned(),
            pod: pod(text(11)?)?,
        })
    }
}

/// Who answered, by the answer's headers.
fn pod(headers: &str) -> Result<String, String> {
    let headers = BASE64_STANDARD.decode(headers);
    let headers = headers.map_err(|error| format!("column 12: {error}"))?;
    let headers = String::from_utf8_lossy(&headers);
    let mut lines = headers.lines();
    let found = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(POD.len())?;
        name.eq_ignore_ascii_case(POD)
            .then(|| value.trim().to_owned())
    });
    Ok(found.unwrap_or_default())
}

/// Reads the records of a file that is still being written.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: File,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl Follower {
    /// Starts at the beginning of the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        let file = File::open(&path).map_err(|error| Error::Read(path.clone(), error))?;
        Ok(Self {
            path,
            file,
            rest: Vec::new(),
        })
    }

    /// What was written since the last call, without waiting; empty if nothing was.
    pub fn next_records(&mut self) -> Result<Vec<Record>, Error> {
        let read = self.file.read_to_end(&mut self.rest);
        read.map_err(|error| Error::Read(self.path.clone(), error))?;
        let after = self.rest.split_off(complete(&self.rest));
        let whole = std::mem::replace(&mut self.rest, after);
        let malformed = |reason| Error::Malformed(self.path.clone(), reason);
        csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(whole.as_slice())
            .records()
            .map(|row| {
                Record::parse(&row.map_err(|e| malformed(e.to_string()))?).map_err(malformed)
            })
            .collect()
    }
}

/// All records of a file.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Record>, Error> {
    Follower::open(path)?.next_records()
}

/// Where the last complete row ends. A quoted field may hold line ends.
fn complete(bytes: &[u8]) -> usize {
    let (mut end, mut quoted) = (0, false);
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => end = index + 1,
            _ => {}
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const GOOD: &str = "1795223434082956495,200,725128,0,45,,,,7,GET,http://10.96.0.5/users/1,WC1Qb2Q6IHNob3AtMQpEYXRlOiBub3cK\n";
    const REFUSED: &str = "1795223434103371944,0,4007786,0,0,\"Get \"\"http://x/\"\": dial tcp:\nconnection refused\",,,8,GET,http://x/,\n";

    #[test]
    fn a_file_is_followed_line_by_line() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut follower = Follower::open(file.path()).unwrap();
        assert_eq!(follower.next_records().unwrap(), []);

        // Cut within a quoted error that has a line end in it.
        let cut = REFUSED.find("connection").unwrap();
        write!(file, "{GOOD}{}", &REFUSED[..cut]).unwrap();
        let first = follower.next_records().unwrap();
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].status, 200);
        assert_eq!(first[0].latency, Duration::from_nanos(725_128));
        assert_eq!(first[0].sequence, 7);
        assert_eq!(first[0].pod, "shop-1");
        assert!(!first[0].failed());

        write!(file, "{}", &REFUSED[cut..]).unwrap();
        let second = follower.next_records().unwrap();
        assert_eq!(second.len(), 1);
        assert_eq!(
            second[0].error,
            "Get \"http://x/\": dial tcp:\nconnection refused"
        );
        assert!(second[0].failed());
    }

    #[test]
    fn server_errors_and_unexpected_answers_are_failures() {
        for (status, failed) in [
            (200, false),
            (201, false),
            (404, true),
            (500, true),
            (0, true),
        ] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            write!(file, "{}", GOOD.replace(",200,", &format!(",{status},"))).unwrap();
            assert_eq!(read(file.path()).unwrap()[0].failed(), failed, "{status}");
        }
    }

    #[test]
    fn a_foreign_file_is_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "time,status").unwrap();
        assert!(matches!(read(file.path()), Err(Error::Malformed(..))));
    }
}
