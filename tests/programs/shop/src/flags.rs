//! The feature flag of the rename: the users for whom v2 reads the new column already. It is read by the
//! official SDK and its provider, from the file that Stepgate's ConfigMap mounts.

use std::path::Path;

/// Its key.
#[cfg(feature = "flags")]
const KEY: &str = "use-full-name";

/// Why flags cannot be read.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(feature = "flags", expect(dead_code, reason = "then they can"))]
pub enum Error {
    /// The program has no SDK in it.
    #[error("this shop reads no flags: build it with --features flags")]
    NotBuilt,
}

/// The flags of this process.
#[derive(Default)]
pub struct Flags {
    #[cfg(feature = "flags")]
    client: Option<open_feature::Client>,
}

#[cfg(not(feature = "flags"))]
impl Flags {
    /// Only where nobody asks for them.
    pub async fn open(file: Option<&Path>) -> Result<Self, Error> {
        match file {
            None => Ok(Self::default()),
            Some(_) => Err(Error::NotBuilt),
        }
    }

    /// Off for everybody.
    pub async fn is_on(&self, _user: i64) -> bool {
        false
    }
}

#[cfg(feature = "flags")]
impl Flags {
    /// Reads them from this file, and follows it. While it is not there, flags are off.
    pub async fn open(file: Option<&Path>) -> Result<Self, Error> {
        let Some(file) = file else {
            return Ok(Self::default());
        };
        tokio::spawn(provider(file.to_string_lossy().into_owned()));
        let client = open_feature::OpenFeature::singleton().await.create_client();
        Ok(Self {
            client: Some(client),
        })
    }

    /// Whether the flag is on for this user. What cannot be said, or not in time, is off.
    pub async fn is_on(&self, user: i64) -> bool {
        let Some(client) = &self.client else {
            return false;
        };
        let user = open_feature::EvaluationContext::default().with_targeting_key(user.to_string());
        let asked = client.get_bool_value(KEY, Some(&user), None);
        let limit = std::time::Duration::from_millis(100);
        let answer = tokio::time::timeout(limit, asked).await;
        answer.is_ok_and(|answer| answer.unwrap_or(false))
    }
}

/// Gives the SDK its provider, as soon as there is a file.
#[cfg(feature = "flags")]
async fn provider(file: String) {
    use open_feature_flagd::{FlagdOptions, FlagdProvider, ResolverType};
    loop {
        let options = FlagdOptions {
            resolver_type: ResolverType::File,
            source_configuration: Some(file.clone()),
            // It would answer a user for whom the flag was off for ever as it did then.
            cache_settings: None,
            ..FlagdOptions::default()
        };
        match FlagdProvider::new(options).await {
            Ok(provider) => {
                let mut sdk = open_feature::OpenFeature::singleton_mut().await;
                return sdk.set_provider(provider).await;
            }
            Err(error) => tracing::warn!("flags are off, {file} cannot be read: {error}"),
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}
