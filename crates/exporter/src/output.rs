//! The file an output goes to: whole or not at all, and on disk before success is reported.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Stdout, Write};
use std::path::{Path, PathBuf};

use rbuild_progress::CancelToken;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::{Dest, Error, Result};

/// Bytes gathered before a write.
const BUFFER: usize = 256 * 1024;

/// Bytes copied between two looks at the cancel token.
const STRIDE: u64 = 16 << 20;

/// Where the bytes of an output go.
pub(crate) enum Output {
    /// A file that takes its name when finished.
    New(NewFile),
    /// Something that cannot be replaced: a pipe, a device.
    Through(BufWriter<File>, PathBuf),
    /// Standard output.
    Stdout(BufWriter<Stdout>),
}

impl Output {
    /// Opens `dest`; its folder must be there.
    pub(crate) fn open(dest: &Dest) -> Result<Self> {
        match dest {
            Dest::Stdout => Ok(Self::Stdout(BufWriter::with_capacity(BUFFER, io::stdout()))),
            Dest::File(path) => Self::open_file(path),
            Dest::Engine => Err(Error::output("dest is required for docker exporter")),
        }
    }

    /// Takes a pipe or socket that is open already.
    pub(crate) fn through(file: File, name: &str) -> Self {
        Self::Through(BufWriter::with_capacity(BUFFER, file), PathBuf::from(name))
    }

    fn open_file(path: &Path) -> Result<Self> {
        // Through a symlink, so that the file it points to is replaced rather than the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        match fs::metadata(&path) {
            Ok(meta) if !meta.is_file() => {
                let file = OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .map_err(Error::at("open", &path))?;
                Ok(Self::Through(BufWriter::with_capacity(BUFFER, file), path))
            }
            _ => Ok(Self::New(NewFile::create(&path)?)),
        }
    }

    /// Writes `length` bytes of `file`, from its start.
    pub(crate) fn copy_file(
        &mut self,
        mut file: &File,
        length: u64,
        cancel: &CancelToken,
    ) -> io::Result<()> {
        file.seek(SeekFrom::Start(0))?;
        let mut left = length;
        while left > 0 {
            cancel.check()?;
            let part = file.take(left.min(STRIDE));
            // Named writers rather than `dyn Write`: for them the standard library copies in the kernel.
            let copied = match self {
                Self::New(new) => io::copy(&mut { part }, &mut new.writer),
                Self::Through(writer, _) => io::copy(&mut { part }, writer),
                Self::Stdout(writer) => io::copy(&mut { part }, writer),
            }?;
            if copied == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= copied;
        }
        Ok(())
    }

    /// Puts the file in place, synced; flushes what is no file.
    pub(crate) fn finish(self) -> Result<()> {
        match self {
            Self::New(new) => new.finish(),
            Self::Through(mut writer, path) => writer.flush().map_err(Error::at("write", &path)),
            Self::Stdout(mut writer) => writer
                .flush()
                .map_err(Error::at("write", Path::new("standard output"))),
        }
    }

    /// What to call the place in messages.
    pub(crate) fn name(&self) -> &Path {
        match self {
            Self::New(new) => &new.target,
            Self::Through(_, path) => path,
            Self::Stdout(_) => Path::new("standard output"),
        }
    }
}

impl Write for Output {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::New(new) => new.writer.write(buf),
            Self::Through(writer, _) => writer.write(buf),
            Self::Stdout(writer) => writer.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::New(new) => new.writer.flush(),
            Self::Through(writer, _) => writer.flush(),
            Self::Stdout(writer) => writer.flush(),
        }
    }
}

/// A file beside its target under another name; removed on drop unless finished.
#[must_use = "dropping it removes the file"]
pub(crate) struct NewFile {
    writer: BufWriter<File>,
    temporary: PathBuf,
    target: PathBuf,
}

impl NewFile {
    pub(crate) fn create(target: &Path) -> Result<Self> {
        let mut random = [0u8; 6];
        getrandom(&mut random, GetRandomFlags::empty())
            .map_err(|errno| Error::io("name a file beside", target, errno.into()))?;
        let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = target.file_name().ok_or_else(|| {
            Error::output(format!("destination file {} has no name", target.display()))
        })?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{random}.tmp"));
        let temporary = target.with_file_name(hidden);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)
            .map_err(Error::at("create", target))?;
        let writer = BufWriter::with_capacity(BUFFER, file);
        Ok(Self {
            writer,
            temporary,
            target: target.to_path_buf(),
        })
    }

    /// Writes the file whole; its name is not synced yet.
    pub(crate) fn write(target: &Path, bytes: &[u8]) -> Result<()> {
        let mut new = Self::create(target)?;
        new.writer
            .write_all(bytes)
            .map_err(Error::at("write", target))?;
        new.publish().map(drop)
    }

    /// Gives the file its name, both synced.
    pub(crate) fn finish(self) -> Result<()> {
        let target = self.publish()?;
        match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
            _ => sync_dir(Path::new(".")),
        }
    }

    /// Syncs the file and gives it its name; the name is not synced yet. Returns it.
    pub(crate) fn publish(mut self) -> Result<PathBuf> {
        self.writer
            .flush()
            .map_err(Error::at("write", &self.target))?;
        self.writer
            .get_ref()
            .sync_data()
            .map_err(Error::at("sync", &self.target))?;
        fs::rename(&self.temporary, &self.target).map_err(Error::at("rename to", &self.target))?;
        Ok(self.target.clone())
    }
}

/// Syncs the names in a directory.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(Error::at("sync", dir))
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Not there any more once renamed, and no other file has such a name.
        fs::remove_file(&self.temporary).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn file_appears_when_finished_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a/b.tar");
        assert!(Output::open(&Dest::File(target.clone())).is_err());
        fs::create_dir(dir.path().join("a")).unwrap();
        let mut output = Output::open(&Dest::File(target.clone())).unwrap();
        output.write_all(b"half").unwrap();
        assert!(!target.exists());
        drop(output);
        assert!(names(&dir.path().join("a")).is_empty());
        NewFile::write(&target, b"whole").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert_eq!(names(&dir.path().join("a")), ["b.tar"]);
    }

    #[test]
    fn symlink_stays_and_its_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let mut output = Output::open(&Dest::File(link.clone())).unwrap();
        output.write_all(b"new").unwrap();
        output.finish().unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn device_is_written_through() {
        let output = Output::open(&Dest::File("/dev/null".into())).unwrap();
        assert!(matches!(output, Output::Through(..)));
        output.finish().unwrap();
    }

    #[test]
    fn copy_takes_exactly_the_length_and_stops_when_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::write(&source, "0123456789").unwrap();
        let file = File::open(&source).unwrap();
        let cancel = CancelToken::new();
        let target = dir.path().join("target");
        let mut output = Output::open(&Dest::File(target.clone())).unwrap();
        output.copy_file(&file, 4, &cancel).unwrap();
        output.copy_file(&file, 2, &cancel).unwrap();
        assert!(output.copy_file(&file, 11, &cancel).is_err());
        cancel.cancel();
        let error = output.copy_file(&file, 1, &cancel).unwrap_err();
        assert!(rbuild_progress::Cancelled::caused(&error));
        output.finish().unwrap();
        assert_eq!(fs::read(target).unwrap(), b"0123010123456789");
    }
}
