//! A limit on a file system of its own: hundreds of random builds, some of them killed, and never a full
//! disk.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rbuild_testkit::{Dice, TempDir, Tree, busybox_layout, find_tool};

use crate::packages;
use crate::shell::{self, command, output, say, step};

const MIB: u64 = 1 << 20;

/// The disk, and what the store on it may take, in MiB.
const DISK: u64 = 5 << 10;
const CAP: u64 = 4 << 10;

/// Largest file that a step writes, in MiB.
const LARGEST: usize = 40;

/// Most steps of a build.
const STEPS: usize = 4;

/// What part of the disk's own count ours may differ by.
const TOLERANCE: u64 = 50;

/// How often the disk is looked at while a build runs.
const SAMPLE: Duration = Duration::from_millis(10);

/// Builds on a disk of 5 GiB with a limit of 4 GiB.
pub fn disk_cap(words: &[&str]) -> Result<()> {
    let (mut builds, mut seed) = (500, 1);
    for pair in words.chunks(2) {
        match pair {
            ["--builds", value] => builds = value.parse().context("--builds takes a number")?,
            ["--seed", value] => seed = value.parse().context("--seed takes a number")?,
            _ => bail!("`cargo xtask disk-cap` takes --builds N and --seed N"),
        }
    }
    ensure!(packages::is_root(), "a file system is mounted only by root");
    packages::ensure(&["busybox"])?;
    let binary = shell::release_binary()?;
    step(&format!(
        "{builds} builds on a disk of {DISK} MiB with --cache-max {CAP}m, --seed {seed}"
    ));
    let disk = Disk::new()?;
    let site = Site::new(binary, &disk)?;
    let mut all = Figures::default();
    let mut dice = Dice::new(seed);
    let begun = Instant::now();
    for number in 1..=builds {
        site.one(number, &mut dice, &mut all)?;
        if number % 50 == 0 || number == builds {
            say(&format!(
                "{} after {}",
                all.line(number),
                shell::seconds(begun.elapsed())
            ));
        }
    }
    site.end(&all)
}

/// What was seen.
#[derive(Default)]
struct Figures {
    killed: u32,
    /// Highest count of used bytes at any moment, and at the end of a build.
    highest: u64,
    highest_between: u64,
    /// The most that one layer and one build can add.
    largest_layer: u64,
    /// Largest part, in thousandths, that our count differed by from the disk's.
    difference: u64,
}

impl Figures {
    fn line(&self, number: u32) -> String {
        format!(
            "{number} builds, {} killed; at most {} MiB used, {} MiB between builds; our count differs by \
             {}.{} % at most",
            self.killed,
            self.highest / MIB,
            self.highest_between / MIB,
            self.difference / 10,
            self.difference % 10
        )
    }
}

/// A file system in a file; unmounted and gone with the value.
struct Disk {
    dir: TempDir,
    /// Used bytes of the empty one.
    empty: u64,
}

impl Disk {
    fn new() -> Result<Self> {
        let dir = TempDir::new();
        let (image, at) = (dir.join("image"), dir.join("disk"));
        File::create(&image)
            .and_then(|file| file.set_len(DISK * MIB))
            .context("make the image of the disk")?;
        fs::create_dir(&at).context("make the mount point")?;
        // Without a journal: with one, blocks of deleted files count as used for seconds.
        output(
            command(tool("mkfs.ext4")?)
                .args(["-q", "-m", "0", "-O", "^has_journal"])
                .arg(&image),
        )?;
        output(
            command(tool("mount")?)
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&at),
        )?;
        let mut disk = Self { dir, empty: 0 };
        disk.empty = disk.used()?;
        Ok(disk)
    }

    fn at(&self) -> PathBuf {
        self.dir.join("disk")
    }

    /// What the store takes, as the file system counts.
    fn used(&self) -> Result<u64> {
        let stat = rustix::fs::statvfs(self.at()).context("look at the disk")?;
        let used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize;
        Ok(used.saturating_sub(self.empty))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(umount) = find_tool("umount") {
            let _ = command(umount).arg(self.at()).status();
        }
    }
}

fn tool(name: &str) -> Result<PathBuf> {
    find_tool(name).with_context(|| format!("`{name}` is not installed"))
}

/// Where it is built.
struct Site<'a> {
    binary: PathBuf,
    disk: &'a Disk,
    work: TempDir,
}

impl<'a> Site<'a> {
    fn new(binary: PathBuf, disk: &'a Disk) -> Result<Self> {
        let work = TempDir::new();
        busybox_layout(&work.join("busybox"));
        fs::create_dir(work.join("context")).context("make the context")?;
        Ok(Self { binary, disk, work })
    }

    fn rbuild(&self, words: &[&str]) -> Command {
        let mut command = command(&self.binary);
        command.arg("--root").arg(self.disk.at().join("store"));
        command.args(words);
        command
    }

    /// Builds once: new steps or those of an earlier build, under one of a few names or none; one in eight
    /// is killed.
    fn one(&self, number: u32, dice: &mut Dice, all: &mut Figures) -> Result<()> {
        let which = match dice.below(4) {
            0 => dice.below(number as usize) as u32,
            _ => number,
        };
        let (text, largest) = dockerfile(which);
        all.largest_layer = all.largest_layer.max(largest);
        Tree::new()
            .file("Dockerfile", text)
            .write_to(self.work.join("context"));
        let mut build = self.rbuild(&["build", "--progress", "plain"]);
        build.args(["--cache-max", &format!("{CAP}m"), "--build-context"]);
        build.arg(format!(
            "busybox=oci-layout://{}",
            self.work.join("busybox").display()
        ));
        if dice.below(5) == 0 {
            build.arg("-t").arg(format!("named-{}", dice.below(4)));
        }
        build.arg(self.work.join("context"));
        let delay = (dice.below(8) == 0).then(|| Duration::from_millis(dice.below(400) as u64));
        let highest = self.watched(&mut build, delay, all)?;
        all.highest = all.highest.max(highest);
        if delay.is_some() {
            // The next opening takes away what a killed build left.
            output(&mut self.rbuild(&["images"]))?;
        }
        self.compare(all)?;
        self.check(all, number)
    }

    /// Runs a build while the disk is looked at; returns the highest count.
    fn watched(
        &self,
        build: &mut Command,
        delay: Option<Duration>,
        all: &mut Figures,
    ) -> Result<u64> {
        let log = self.work.join("log");
        let file = File::create(&log).context("make a log")?;
        let mut child = build
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .context("start rbuild")?;
        let (over, highest) = (AtomicBool::new(false), AtomicU64::new(0));
        let status = thread::scope(|scope| {
            let watch = scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    highest.fetch_max(self.disk.used().unwrap_or(0), Ordering::SeqCst);
                    thread::park_timeout(SAMPLE);
                }
            });
            if let Some(delay) = delay {
                thread::sleep(delay);
                let _ = child.kill();
            }
            let status = child.wait();
            over.store(true, Ordering::SeqCst);
            watch.thread().unpark();
            status
        });
        let status = status.context("wait for rbuild")?;
        match (status.success(), delay) {
            (false, Some(_)) if status.code().is_none() => all.killed += 1,
            (false, _) => bail!("a build ended with {status}:\n{}", shell::read(&log)?),
            (true, _) => {}
        }
        Ok(highest.into_inner())
    }

    /// Compares what `rbuild du` tells with the file system's own count.
    fn compare(&self, all: &mut Figures) -> Result<()> {
        let listed = output(&mut self.rbuild(&["du"]))?;
        let total = listed.lines().find_map(|line| line.strip_prefix("Total:"));
        let told = bytes(total.context("a total of du")?.trim())?;
        // Blocks that are yet to be allocated are not in either count, in the same way, after a sync.
        output(command("sync").arg("-f").arg(self.disk.at()))?;
        let used = self.disk.used()?;
        all.highest_between = all.highest_between.max(used);
        if used > 100 * MIB {
            all.difference = all.difference.max(used.abs_diff(told) * 1000 / used);
        }
        Ok(())
    }

    fn check(&self, all: &Figures, number: u32) -> Result<()> {
        let limit = CAP * MIB;
        let one_more = limit + all.largest_layer * 11 / 10;
        ensure!(
            all.highest_between <= limit + limit / TOLERANCE,
            "after build {number} the disk had {} MiB in use",
            all.highest_between / MIB
        );
        ensure!(
            all.highest <= one_more,
            "in build {number} the disk had {} MiB in use, more than {} MiB",
            all.highest / MIB,
            one_more / MIB
        );
        ensure!(
            all.difference <= 1000 / TOLERANCE,
            "after build {number} our count differed by {} thousandths",
            all.difference
        );
        Ok(())
    }

    /// Nothing is left that nobody accounts for.
    fn end(&self, all: &Figures) -> Result<()> {
        output(&mut self.rbuild(&["store", "verify"]))?;
        for number in 0..4 {
            // Not all of them need be there.
            let _ = self
                .rbuild(&["rmi", &format!("named-{number}")])
                .stderr(Stdio::null())
                .stdout(Stdio::null())
                .status();
        }
        output(&mut self.rbuild(&["prune", "-af"]))?;
        output(command("sync").arg("-f").arg(self.disk.at()))?;
        let left = self.disk.used()?;
        println!(
            "\nlargest layer {} MiB; {} KiB are left when all is pruned",
            all.largest_layer / MIB,
            left / 1024
        );
        ensure!(left < 8 * MIB, "{left} bytes are left of an empty store");
        Ok(())
    }
}

/// The Dockerfile of a number, and the size of its largest layer.
fn dockerfile(number: u32) -> (String, u64) {
    let mut dice = Dice::new(u64::from(number) + 77);
    let mut text = String::from("FROM busybox\n");
    let mut largest = 0;
    for step in 0..=dice.below(STEPS) {
        let size = 1 + dice.below(LARGEST);
        largest = largest.max(size as u64 * MIB);
        text += &format!("RUN head -c {size}m /dev/urandom > /noise-{number}-{step}\n");
    }
    if dice.below(5) == 0 {
        text += "RUN --mount=type=cache,target=/c head -c 1m /dev/urandom > /c/$(date +%s%N)\n";
    }
    if dice.below(3) == 0 {
        text += "COPY . /context\n";
    }
    (text, largest)
}

/// Reads a size as `rbuild du` writes it.
fn bytes(text: &str) -> Result<u64> {
    let digits = text.find(|c: char| c != '.' && !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let number: f64 = number
        .parse()
        .with_context(|| format!("{text:?} is no size"))?;
    let factor = match unit {
        "GB" => 1e9,
        "MB" => 1e6,
        "kB" => 1e3,
        "B" => 1.0,
        _ => bail!("{text:?} has no unit that is known"),
    };
    Ok((number * factor) as u64)
}
