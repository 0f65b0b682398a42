//! A cgroup per step, only when limits are asked for.
//!
//! Each controller is looked for where it can be used: in a cgroup2 hierarchy if the controller can be
//! enabled below our own group or one above it, else in its version 1 hierarchy. A limit that cannot be kept
//! is a failure, not a silent wish.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{During, setup};
use crate::spec::Limits;
use crate::wire::Failure;

const STAGE: &str = "limit resources";
const MOUNT: &str = "/sys/fs/cgroup";

/// Groups made for one step; removed on drop, when all in them are dead.
pub(crate) struct Group {
    directories: Vec<PathBuf>,
}

impl Drop for Group {
    fn drop(&mut self) {
        for directory in &self.directories {
            fs::remove_dir(directory).ok();
        }
    }
}

/// Values to write, by controller, in order.
type Settings = BTreeMap<&'static str, Vec<(&'static str, String)>>;

impl Group {
    /// Makes the groups for these limits; none if there are no limits.
    pub(crate) fn create(limits: &Limits) -> Result<Option<Self>, Failure> {
        if limits.is_empty() {
            return Ok(None);
        }
        let own = fs::read_to_string("/proc/self/cgroup").during(STAGE, "/proc/self/cgroup")?;
        let name = format!("rbuild-{}", random_name().during(STAGE, "random name")?);
        let mut group = Self {
            directories: Vec::new(),
        };
        if Path::new(MOUNT).join("cgroup.controllers").exists() {
            group.create_unified(&own, &name, &unified_settings(limits))?;
        } else {
            group.create_separate(&own, &name, &separate_settings(limits))?;
        }
        Ok(Some(group))
    }

    /// Makes one group in the cgroup2 hierarchy, as far down as the controllers reach.
    fn create_unified(&mut self, own: &str, name: &str, wanted: &Settings) -> Result<(), Failure> {
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .unwrap_or("/");
        let start = Path::new(MOUNT).join(own.trim_start_matches('/'));
        for parent in start.ancestors().take_while(|dir| dir.starts_with(MOUNT)) {
            if enable(parent, wanted) {
                let directory = parent.join(name);
                fs::create_dir(&directory).during(STAGE, directory.display())?;
                self.directories.push(directory.clone());
                return apply(&directory, wanted);
            }
        }
        let names: Vec<&str> = wanted.keys().copied().collect();
        Err(setup(
            STAGE,
            format!(
                "no cgroup of ours offers {}; delegate one (systemd: Delegate=yes) or drop the limit",
                names.join(", ")
            ),
        ))
    }

    /// Makes a group in each controller's version 1 hierarchy.
    fn create_separate(&mut self, own: &str, name: &str, wanted: &Settings) -> Result<(), Failure> {
        for (controller, values) in wanted {
            let hierarchy = Path::new(MOUNT).join(controller);
            let ours = own.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                controllers
                    .split(',')
                    .any(|c| c == *controller)
                    .then_some(path)
            });
            let parent = hierarchy.join(ours.unwrap_or("/").trim_start_matches('/'));
            // In a container the path may be the host's, which is not mounted here.
            let parent = if parent.is_dir() { parent } else { hierarchy };
            let directory = parent.join(name);
            fs::create_dir(&directory).during(STAGE, directory.display())?;
            self.directories.push(directory.clone());
            if *controller == "cpuset" {
                inherit_cpuset(&parent, &directory)?;
            }
            let one = Settings::from([(*controller, values.clone())]);
            apply(&directory, &one)?;
        }
        Ok(())
    }

    /// Moves the calling process into the groups.
    pub(crate) fn join(&self) -> Result<(), Failure> {
        for directory in &self.directories {
            let file = directory.join("cgroup.procs");
            fs::write(&file, "0").during(STAGE, file.display())?;
        }
        Ok(())
    }

    /// Tells whether the kernel killed something in the groups for want of memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.directories.iter().any(|directory| {
            ["memory.events", "memory.oom_control"].iter().any(|file| {
                fs::read_to_string(directory.join(file)).is_ok_and(|text| counts_kill(&text))
            })
        })
    }
}

/// Finds a kill in `memory.events` or `memory.oom_control`.
fn counts_kill(text: &str) -> bool {
    text.lines()
        .filter_map(|line| line.strip_prefix("oom_kill "))
        .any(|count| count.trim() != "0")
}

/// Enables controllers for the children of `parent`; tells whether all are there.
fn enable(parent: &Path, wanted: &Settings) -> bool {
    let request: Vec<String> = wanted.keys().map(|name| format!("+{name}")).collect();
    // Fails where processes live in the group (other than the root), or where it is not ours.
    fs::write(parent.join("cgroup.subtree_control"), request.join(" ")).ok();
    let enabled = fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap_or_default();
    wanted
        .keys()
        .all(|name| enabled.split_whitespace().any(|have| have == *name))
}

/// Writes the values.
fn apply(directory: &Path, settings: &Settings) -> Result<(), Failure> {
    for (file, value) in settings.values().flatten() {
        let path = directory.join(file);
        match fs::write(&path, value) {
            // Kernels without swap accounting have no such file; then there is nothing to limit.
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.contains("sw") => {}
            result => result.during(STAGE, format!("{} = {value}", path.display()))?,
        }
    }
    Ok(())
}

/// A version 1 cpuset starts empty, and no process may join it then.
fn inherit_cpuset(parent: &Path, directory: &Path) -> Result<(), Failure> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value = fs::read_to_string(parent.join(file)).during(STAGE, file)?;
        fs::write(directory.join(file), value.trim()).during(STAGE, file)?;
    }
    Ok(())
}

/// Returns what to write into a cgroup2 group.
fn unified_settings(limits: &Limits) -> Settings {
    let mut settings = Settings::new();
    let mut set = |controller, file, value: String| {
        settings.entry(controller).or_default().push((file, value));
    };
    if let Some(memory) = limits.memory {
        set("memory", "memory.max", memory.to_string());
        set("memory", "memory.oom.group", "1".into());
    }
    if let Some(both) = limits.memory_swap {
        // Here swap is limited by itself, Docker's number is the sum.
        let swap = both.saturating_sub(limits.memory.unwrap_or(0));
        set("memory", "memory.swap.max", swap.to_string());
    }
    if let Some(pids) = limits.pids {
        set("pids", "pids.max", pids.to_string());
    }
    if limits.cpu_quota_us.is_some() || limits.cpu_period_us.is_some() {
        let quota = limits.cpu_quota_us.map_or("max".into(), |q| q.to_string());
        let period = limits.cpu_period_us.unwrap_or(100_000);
        set("cpu", "cpu.max", format!("{quota} {period}"));
    }
    if let Some(shares) = limits.cpu_shares {
        set("cpu", "cpu.weight", weight(shares).to_string());
    }
    if let Some(cpus) = &limits.cpuset_cpus {
        set("cpuset", "cpuset.cpus", cpus.clone());
    }
    if let Some(mems) = &limits.cpuset_mems {
        set("cpuset", "cpuset.mems", mems.clone());
    }
    settings
}

/// Turns shares (2 … 262144) into a weight (1 … 10000), as container runtimes do.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// Returns what to write into version 1 groups.
fn separate_settings(limits: &Limits) -> Settings {
    let mut settings = Settings::new();
    let mut set = |controller, file, value: String| {
        settings.entry(controller).or_default().push((file, value));
    };
    if let Some(memory) = limits.memory {
        set("memory", "memory.limit_in_bytes", memory.to_string());
    }
    if let Some(both) = limits.memory_swap {
        set("memory", "memory.memsw.limit_in_bytes", both.to_string());
    }
    if let Some(pids) = limits.pids {
        set("pids", "pids.max", pids.to_string());
    }
    if let Some(period) = limits.cpu_period_us {
        set("cpu", "cpu.cfs_period_us", period.to_string());
    }
    if let Some(quota) = limits.cpu_quota_us {
        set("cpu", "cpu.cfs_quota_us", quota.to_string());
    }
    if let Some(shares) = limits.cpu_shares {
        set("cpu", "cpu.shares", shares.to_string());
    }
    if let Some(cpus) = &limits.cpuset_cpus {
        set("cpuset", "cpuset.cpus", cpus.clone());
    }
    if let Some(mems) = &limits.cpuset_mems {
        set("cpuset", "cpuset.mems", mems.clone());
    }
    settings
}

/// Returns a name no other build has; process ids repeat between pid namespaces.
pub(crate) fn random_name() -> io::Result<String> {
    let mut bytes = [0_u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_values_of_either_version() {
        let limits = Limits {
            memory: Some(1000),
            memory_swap: Some(1500),
            cpu_quota_us: Some(50_000),
            cpu_shares: Some(1024),
            ..Limits::default()
        };
        let unified = unified_settings(&limits);
        assert_eq!(
            unified["memory"],
            [
                ("memory.max", "1000".to_owned()),
                ("memory.oom.group", "1".into()),
                ("memory.swap.max", "500".into())
            ]
        );
        assert_eq!(
            unified["cpu"],
            [
                ("cpu.max", "50000 100000".to_owned()),
                ("cpu.weight", "39".into())
            ]
        );
        let separate = separate_settings(&limits);
        assert_eq!(
            separate["cpu"],
            [
                ("cpu.cfs_quota_us", "50000".to_owned()),
                ("cpu.shares", "1024".into())
            ]
        );
    }

    #[test]
    fn only_a_positive_count_is_a_kill() {
        assert!(counts_kill("oom 1\noom_kill 2\n"));
        assert!(!counts_kill("oom 1\noom_kill 0\n"));
    }
}
