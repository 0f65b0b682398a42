//! The terminal of a step: made in its own `/dev/pts`, so that its name leads to it there.
//!
//! A pseudoterminal of the host has a name that means nothing in the step, and `ttyname` fails. So the
//! step's process makes one, and hands the master side out over a socket.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, Uid, fchown, open};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, ptsname, unlockpt};

use crate::attach::{attach, clone_of_host};
use crate::failure::{During, setup};
use crate::place::{self, Owner};
use crate::wire::{self, Failure, TerminalOpen, TerminalTaken};

const STAGE: &str = "open terminal";

/// Makes a terminal that belongs to the step's user, and also shows it as `/dev/console`.
///
/// Needs the step's root and the right to mount. Returns the slave side once the engine has taken the
/// master side, so that the program finds the size that the engine gave it.
pub(crate) fn make(socket: &OwnedFd, owner: Owner) -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = open("/dev/pts/ptmx", flags, Mode::empty()).during(STAGE, "/dev/pts/ptmx")?;
    unlockpt(&master).during(STAGE, "unlock")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    // By descriptor: it opens the slave in the mount of the master, whatever lies at the path.
    let slave = ioctl_tiocgptpeer(&master, flags).during(STAGE, "slave side")?;
    // The group stays that of terminals.
    fchown(&slave, Some(Uid::from_raw(owner.uid)), None).during(STAGE, "owner")?;
    let name = ptsname(&master, Vec::new()).during(STAGE, "name")?;
    show_as_console(name.to_string_lossy().as_ref())?;
    wire::send(socket, &TerminalOpen, &[master.as_fd()]).during(STAGE, "hand over")?;
    drop(master);
    match wire::receive::<TerminalTaken>(socket).during(STAGE, "hand over")? {
        Some(_) => Ok(slave),
        None => Err(setup(STAGE, "nobody takes its other side")),
    }
}

/// Mounts the slave on `/dev/console`, as container runtimes do.
fn show_as_console(name: &str) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dev = open("/dev", flags, Mode::empty()).during(STAGE, "/dev")?;
    let console = "console".as_ref();
    place::make_file(dev.as_fd(), console, Mode::from_raw_mode(0o600)).during(STAGE, "console")?;
    let place = place::open_name(dev.as_fd(), console).during(STAGE, "console")?;
    let slave = clone_of_host(name.as_ref()).during(STAGE, name)?;
    attach(&slave, &place).during(STAGE, "console")
}
