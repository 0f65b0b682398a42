//! Times the workloads: what a cached build, a step, parallel stages and much data cost.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rbuild_testkit::{busybox_layout, need_tool};

use crate::packages;
use crate::shell::{self, say, step};

/// One workload: how its folder is made, and how a build of it is timed.
struct Workload {
    name: &'static str,
    make: fn(&Path, Size) -> Result<()>,
    /// More arguments of the build.
    args: &'static [&'static str],
    /// Whether the timed builds may use the cache.
    cached: Cached,
    runs: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cached {
    Yes,
    No,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Full,
    Small,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "noop",
        make: noop,
        args: &[],
        cached: Cached::Yes,
        runs: 20,
    },
    Workload {
        name: "steps",
        make: steps,
        args: &[],
        cached: Cached::No,
        runs: 5,
    },
    Workload {
        name: "parallel",
        make: parallel,
        args: &[],
        cached: Cached::No,
        runs: 3,
    },
    Workload {
        name: "big",
        make: big,
        args: &["-o", "type=oci,compression=zstd,dest=OUT"],
        cached: Cached::No,
        runs: 3,
    },
    Workload {
        name: "many",
        make: many,
        args: &["-o", "type=oci,compression=zstd,dest=OUT"],
        cached: Cached::No,
        runs: 3,
    },
    Workload {
        name: "deep",
        make: deep,
        args: &[],
        cached: Cached::No,
        runs: 3,
    },
];

/// Times the named workloads, or all; `--small` makes the big ones a sixteenth of the size.
pub fn bench(args: &[&str]) -> Result<()> {
    let size = if args.contains(&"--small") {
        Size::Small
    } else {
        Size::Full
    };
    let names: Vec<&str> = args
        .iter()
        .copied()
        .filter(|arg| *arg != "--small")
        .collect();
    if let Some(unknown) = names
        .iter()
        .find(|name| WORKLOADS.iter().all(|w| w.name != **name))
    {
        bail!("there is no workload `{unknown}`");
    }
    packages::ensure(&["busybox", "time"])?;
    let place = Place::new()?;
    step("workload      first     then (least, median, most)        peak memory");
    for workload in WORKLOADS {
        if names.is_empty() || names.contains(&workload.name) {
            say(&measure(&place, workload, size)?);
        }
    }
    Ok(())
}

/// Where workloads, the base and the store of a run lie.
struct Place {
    dir: PathBuf,
    binary: PathBuf,
}

impl Place {
    fn new() -> Result<Self> {
        let dir = shell::target_dir().join("bench");
        let binary = shell::release_binary()?;
        let base = dir.join("busybox");
        if !base.join("index.json").exists() {
            busybox_layout(&base);
        }
        Ok(Self { dir, binary })
    }

    fn store(&self, workload: &str) -> PathBuf {
        self.dir.join("store").join(workload)
    }

    fn build(&self, workload: &Workload, cached: Cached) -> Command {
        let mut build = Command::new(&self.binary);
        build
            .args(["build", "--quiet", "--root"])
            .arg(self.store(workload.name));
        build.arg("--build-context");
        build.arg(format!(
            "busybox=oci-layout://{}:latest",
            self.dir.join("busybox").display()
        ));
        if cached == Cached::No {
            build.arg("--no-cache");
        }
        let out = self.dir.join("out.tar").display().to_string();
        build.args(workload.args.iter().map(|arg| arg.replace("OUT", &out)));
        build.arg(self.dir.join(workload.name));
        build
    }
}

fn measure(place: &Place, workload: &Workload, size: Size) -> Result<String> {
    let context = place.dir.join(workload.name);
    let _ = fs::remove_dir_all(&context);
    (workload.make)(&context, size)?;
    let _ = fs::remove_dir_all(place.store(workload.name));
    let first = timed(&mut place.build(workload, Cached::Yes))?;
    let mut times = Vec::new();
    for _ in 0..workload.runs {
        times.push(timed(&mut place.build(workload, workload.cached))?);
    }
    times.sort();
    let memory = peak_memory_mib(&place.build(workload, workload.cached))?;
    let (least, most) = (times[0], times[times.len() - 1]);
    Ok(format!(
        "{:<10} {:>8} {:>9} {:>9} {:>9} {memory:>14} MiB",
        workload.name,
        millis(first),
        millis(least),
        millis(times[times.len() / 2]),
        millis(most),
    ))
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn timed(command: &mut Command) -> Result<Duration> {
    let started = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("start rbuild")?;
    let elapsed = started.elapsed();
    if !output.status.success() {
        bail!(
            "`{}`:\n{}",
            shell::line(command),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(elapsed)
}

/// Runs the command once more under `time`, which knows the peak of the process and its children.
fn peak_memory_mib(command: &Command) -> Result<u64> {
    let mut time = Command::new(need_tool("time"));
    time.args(["-f", "peak %M"])
        .arg(command.get_program())
        .args(command.get_args());
    let output = time.stdin(Stdio::null()).output().context("start time")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let kib = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("peak ")?.parse::<u64>().ok());
    Ok(kib.context("time prints the peak")? / 1024)
}

/// Bytes that compress as little as random ones and are the same each time.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            // xorshift64: good enough to defeat a compressor.
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut buffer = vec![0; length];
        self.fill(&mut buffer);
        buffer
    }
}

fn noise() -> Noise {
    Noise(0x9e37_79b9_7f4a_7c15)
}

fn noop(dir: &Path, _: Size) -> Result<()> {
    let mut noise = noise();
    for number in 0..200 {
        shell::write(&dir.join(format!("src/f{number}.bin")), noise.bytes(4096))?;
    }
    shell::write(
        &dir.join("Dockerfile"),
        "FROM busybox AS build\nARG VERSION=1\nENV A=1 B=2\nWORKDIR /app\nCOPY src/ ./src/\n\
         RUN cat src/* > all\nRUN sha256sum all > sum\nRUN mkdir -p /out && cp sum /out/\n\
         FROM busybox\nLABEL kind=bench\nWORKDIR /srv\nCOPY --from=build /out/ /srv/\n\
         RUN echo 1 > one\nRUN echo 2 > two\nRUN echo 3 > three\nENV PATH=/srv:$PATH\n\
         USER 1000\nEXPOSE 80\nENTRYPOINT [\"/bin/sh\"]\nCMD [\"-c\", \"true\"]\n",
    )
}

fn steps(dir: &Path, _: Size) -> Result<()> {
    let mut text = "FROM busybox\n".to_owned();
    for number in 0..20 {
        let _ = writeln!(text, "RUN echo {number} > /f{number}");
    }
    shell::write(&dir.join("Dockerfile"), text)
}

fn parallel(dir: &Path, _: Size) -> Result<()> {
    let mut text = "FROM busybox AS base\n".to_owned();
    for stage in 0..8 {
        let _ = writeln!(
            text,
            "FROM base AS s{stage}\nRUN sleep 1; echo {stage} > /o{stage}"
        );
    }
    text.push_str("FROM base\n");
    for stage in 0..8 {
        let _ = writeln!(text, "COPY --from=s{stage} /o{stage} /");
    }
    shell::write(&dir.join("Dockerfile"), text)
}

fn big(dir: &Path, size: Size) -> Result<()> {
    let mut noise = noise();
    let blocks: Vec<_> = (0..16).map(|_| noise.bytes(1 << 19)).collect();
    let plain = b"all work and no play makes a dull file\n".repeat(1 << 14);
    shell::write(&dir.join("Dockerfile"), "FROM scratch\nCOPY data/ /data/\n")?;
    let path = dir.join("data/one.bin");
    shell::write(&path, "")?;
    let mut file = fs::File::create(&path).with_context(|| format!("make {}", path.display()))?;
    for number in 0..if size == Size::Full { 1024_usize } else { 64 } {
        let mut block = blocks[number % blocks.len()].clone();
        block.extend_from_slice(&plain[..(1 << 19) - 8]);
        block.extend_from_slice(&number.to_le_bytes());
        std::io::Write::write_all(&mut file, &block).context("write the big file")?;
    }
    Ok(())
}

fn many(dir: &Path, size: Size) -> Result<()> {
    let mut noise = noise();
    let files = if size == Size::Full { 1000 } else { 60 };
    for folder in 0..50 {
        for number in 0..files {
            let mut bytes = noise.bytes(1500);
            bytes.resize(3000, b'x');
            shell::write(&dir.join(format!("data/{folder}/{number}.js")), bytes)?;
        }
    }
    shell::write(&dir.join("Dockerfile"), "FROM scratch\nCOPY data/ /data/\n")
}

fn deep(dir: &Path, _: Size) -> Result<()> {
    let mut text = "FROM busybox\n".to_owned();
    for number in 0..60 {
        shell::write(&dir.join(format!("f{number}")), number.to_string())?;
        let _ = writeln!(text, "COPY f{number} /deep/f{number}");
    }
    text.push_str("RUN cat /deep/* | wc -c > /n\n");
    shell::write(&dir.join("Dockerfile"), text)
}
