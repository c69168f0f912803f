//! Size of the image, and of the binary in it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use testbed::{Error, Result, images, program};

use crate::figure::{Figure, Section};
use crate::memory::megabytes;

/// Bytes that the image may take on a node.
const GOAL: f64 = 15e6;

/// Looks into the image's archive.
pub async fn measure() -> Result<Section> {
    let archives = images::build(&[]).await?;
    let at = images::IMAGES.iter().position(|name| *name == "stepgate");
    let archive = at.and_then(|at| archives.get(at));
    let archive = archive.ok_or_else(|| Error::refused("no image of the operator was built"))?;
    let folder = tempfile::tempdir().map_err(|error| cannot(archive, &error))?;
    unpack(archive, folder.path()).await?;
    let (mut packed, mut files) = (0, Vec::new());
    for layer in layers(folder.path())? {
        packed += std::fs::metadata(&layer)
            .map_err(|error| cannot(&layer, &error))?
            .len();
        files.extend(contents(&layer).await?);
    }
    let unpacked: u64 = files.iter().map(|(_, size)| size).sum();
    files.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let binary = files
        .iter()
        .find(|(name, _)| name.ends_with("bin/stepgate"));
    let binary = binary.map_or(0, |(_, size)| *size);
    let largest = files.iter().filter(|(_, size)| *size > 10_000);
    let largest = largest.map(|(name, size)| format!("{name} {}", megabytes(*size)));
    Ok(Section {
        title: "Size",
        figures: vec![
            Figure::below(
                "Image, unpacked",
                (unpacked as f64, megabytes(unpacked)),
                (GOAL, "15 MB"),
            ),
            Figure::told("Image, as it is pulled", megabytes(packed)),
            Figure::told("Binary", megabytes(binary)),
        ],
        notes: vec![format!(
            "The goal is for the files as they lie on a node: {}.",
            largest.collect::<Vec<_>>().join(", ")
        )],
    })
}

fn cannot(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::refused(format!("{}: {error}", path.display()))
}

async fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let mut tar = program::command("tar");
    tar.arg("-xf").arg(archive).arg("-C").arg(folder);
    program::output(&mut tar).await.map(drop)
}

/// The layers' files of an unpacked OCI archive.
fn layers(folder: &Path) -> Result<Vec<PathBuf>> {
    let index = read(&folder.join("index.json"))?;
    let manifest = blob(folder, &index["manifests"][0])?;
    let manifest = read(&manifest)?;
    let layers = manifest["layers"].as_array();
    let layers = layers.ok_or_else(|| cannot(folder, &"no layers in the image"))?;
    layers.iter().map(|layer| blob(folder, layer)).collect()
}

fn blob(folder: &Path, descriptor: &Value) -> Result<PathBuf> {
    let digest = descriptor["digest"]
        .as_str()
        .and_then(|d| d.split_once(':'));
    let (kind, hash) = digest.ok_or_else(|| cannot(folder, &"no digest in the image's index"))?;
    Ok(folder.join("blobs").join(kind).join(hash))
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|error| cannot(path, &error))?;
    serde_json::from_str(&text).map_err(|error| cannot(path, &error))
}

/// Names and sizes of the files in a layer, packed or not.
async fn contents(layer: &Path) -> Result<Vec<(String, u64)>> {
    let mut tar = program::command("tar");
    tar.arg("-tvf").arg(layer);
    let listed = program::output(&mut tar).await?;
    Ok(listed.lines().filter_map(file).collect())
}

/// One line of `tar -tv`, if it is a file's.
fn file(line: &str) -> Option<(String, u64)> {
    let mut words = line.split_whitespace();
    let mode = words.next()?;
    let size = words.nth(1)?.parse().ok()?;
    let name = words.nth(2)?;
    mode.starts_with('-').then(|| (name.to_owned(), size))
}

#[cfg(test)]
mod tests {
    #[test]
    fn files_of_a_layer() {
        let line = "-rwxr-xr-x 0/0        12345678 2026-11-21 01:00 usr/bin/stepgate";
        assert_eq!(
            super::file(line),
            Some(("usr/bin/stepgate".into(), 12_345_678))
        );
        assert_eq!(
            super::file("drwxr-xr-x 0/0  0 2026-11-21 01:00 usr/bin/"),
            None
        );
    }
}
