//! Stages and typed instructions as JSON.

use serde_json::{Value, json};

use super::{Object, texts};
use crate::ast::{InlineFile, Instruction, Stage};
use crate::expand::ExpandError;
use crate::instruction::{
    AddInstruction, ArgPair, CommandForm, CommandLine, CopyInstruction, HealthTest,
    HealthcheckInstruction, InstructionKind, Mount, MountFlag, MountKind, Network, RunInstruction,
    Security, SourcesAndDest,
};
use crate::node::{Pair, PairStyle};
use crate::word::Word;

/// A stage with its commands.
pub(super) fn stage(stage: &Stage) -> Value {
    let mut object = Object::default();
    object.put("name", text(stage.name.as_ref()));
    object.put("base", stage.base.text.as_str());
    object.put("platform", text(stage.platform.as_ref()));
    object.put_some("doc", stage.doc.as_deref());
    object.put("line", stage.from.lines.first);
    object.put("end_line", stage.from.lines.last);
    object.put("code", stage.from.code());
    let commands: Vec<Value> = stage.instructions.iter().map(json).collect();
    object.put("commands", commands);
    object.done()
}

fn text(word: Option<&Word>) -> &str {
    word.map(Word::as_str).unwrap_or_default()
}

/// An instruction.
pub(super) fn json(instruction: &Instruction) -> Value {
    let header = &instruction.header;
    let mut object = Object::default();
    let keyword = instruction.kind.keyword().as_str();
    object.put("name", keyword.to_lowercase());
    object.put("line", header.lines.first);
    object.put("end_line", header.lines.last);
    object.put("code", header.code());
    put_kind(&mut object, &instruction.kind);
    object.done()
}

fn put_kind(object: &mut Object, kind: &InstructionKind) {
    match kind {
        InstructionKind::Add(add) => put_add(object, add),
        InstructionKind::Arg(arg) => {
            object.put("args", arg.args.iter().map(arg_pair).collect::<Vec<_>>());
        }
        InstructionKind::Cmd(found) | InstructionKind::Entrypoint(found) => {
            put_command(object, &found.command);
        }
        InstructionKind::Copy(copy) => put_copy(object, copy),
        InstructionKind::Env(env) => object.put("env", pairs(&env.pairs)),
        InstructionKind::Expose(expose) => object.put("ports", texts(&expose.ports)),
        InstructionKind::Healthcheck(check) => put_healthcheck(object, check),
        InstructionKind::Label(label) => object.put("labels", pairs(&label.pairs)),
        InstructionKind::Maintainer(found) => object.put("maintainer", found.name.text.as_str()),
        InstructionKind::Onbuild(onbuild) => {
            object.put("expression", onbuild.expression.as_str());
        }
        InstructionKind::Run(run) => put_run(object, run),
        InstructionKind::Shell(shell) => object.put("shell", texts(&shell.shell)),
        InstructionKind::Stopsignal(stop) => object.put("signal", stop.signal.text.as_str()),
        InstructionKind::User(user) => object.put("user", user.user.text.as_str()),
        InstructionKind::Volume(volume) => object.put("volumes", texts(&volume.volumes)),
        InstructionKind::Workdir(workdir) => object.put("path", workdir.path.text.as_str()),
    }
}

fn pairs(pairs: &[Pair]) -> Value {
    let pair = |pair: &Pair| {
        let mut object = Object::default();
        object.put("key", pair.key.text.as_str());
        object.put("value", pair.value.text.as_str());
        object.put_some("no_delim", pair.style == PairStyle::Blank);
        object.done()
    };
    pairs.iter().map(pair).collect()
}

fn arg_pair(pair: &ArgPair) -> Value {
    let mut object = Object::default();
    object.put("key", pair.key.text.as_str());
    object.put("value", pair.value.as_ref().map(Word::as_str));
    object.put_some("doc", pair.doc.as_deref());
    object.done()
}

fn put_command(object: &mut Object, command: &CommandLine) {
    let shell = command.form == CommandForm::Shell;
    // An instruction without arguments has none here, though its shell gets an empty one.
    let nothing = shell && command.args.iter().all(Word::is_empty);
    let args = match nothing {
        true => json!([]),
        false => texts(&command.args),
    };
    object.put("cmdline", args);
    object.put("prepend_shell", shell);
    let files = command.files.iter().map(|file| {
        let mut object = Object::default();
        object.put("name", file.name.as_str());
        object.put("data", file.data.as_str());
        object.put("chomp", file.chomp);
        object.done()
    });
    object.put_some("files", files.collect::<Vec<_>>());
}

fn put_files(object: &mut Object, files: &SourcesAndDest) {
    object.put("sources", texts(&files.sources));
    object.put("dest", files.dest.text.as_str());
    let content = |file: &InlineFile| {
        json!({
            "path": file.name,
            "data": file.data,
            "expand": file.expand,
        })
    };
    let contents: Vec<Value> = files.contents.iter().map(content).collect();
    object.put_some("contents", contents);
}

fn put_copy(object: &mut Object, copy: &CopyInstruction) {
    put_files(object, &copy.files);
    object.put_some("from", text(copy.from.as_ref()));
    object.put_some("chown", text(copy.chown.as_ref()));
    object.put_some("chmod", text(copy.chmod.as_ref()));
    object.put_some("link", copy.link);
    object.put_some("parents", copy.parents);
    object.put_some("exclude", texts(&copy.exclude));
}

fn put_add(object: &mut Object, add: &AddInstruction) {
    put_files(object, &add.files);
    object.put_some("chown", text(add.chown.as_ref()));
    object.put_some("chmod", text(add.chmod.as_ref()));
    object.put_some("link", add.link);
    object.put_some("keep_git_dir", add.keep_git_dir);
    object.put_some("checksum", text(add.checksum.as_ref()));
    // Without the flag, archives are unpacked and downloads are not: false is not the default.
    if let Some(unpack) = add.unpack {
        object.put("unpack", unpack);
    }
    object.put_some("exclude", texts(&add.exclude));
}

fn put_healthcheck(object: &mut Object, check: &HealthcheckInstruction) {
    let test = match &check.test {
        HealthTest::None => vec!["NONE".to_owned()],
        HealthTest::Cmd(command) => {
            let kind = match command.form {
                CommandForm::Shell => "CMD-SHELL",
                CommandForm::Exec => "CMD",
            };
            let args = command.args.iter().map(|word| word.text.clone());
            std::iter::once(kind.to_owned()).chain(args).collect()
        }
    };
    object.put("test", test);
    object.put("interval_ns", check.interval_ns);
    object.put("timeout_ns", check.timeout_ns);
    object.put("start_period_ns", check.start_period_ns);
    object.put("start_interval_ns", check.start_interval_ns);
    object.put("retries", check.retries);
}

fn put_run(object: &mut Object, run: &RunInstruction) {
    put_command(object, &run.command);
    object.put_some("flags_used", run.flags_used.clone());
    object.put(
        "network",
        match run.network {
            Network::Default => "default",
            Network::None => "none",
            Network::Host => "host",
        },
    );
    object.put(
        "security",
        match run.security {
            Security::Sandbox => "sandbox",
            Security::Insecure => "insecure",
        },
    );
    let mut as_written = |value: &str| -> Result<String, ExpandError> { Ok(value.to_owned()) };
    let mounts: Result<Vec<Mount>, _> = run
        .mounts
        .iter()
        .map(|flag| Mount::parse(&flag.raw.text, &mut as_written))
        .collect();
    match mounts {
        Ok(mounts) => object.put_some("mounts", mounts.iter().map(mount).collect::<Vec<_>>()),
        Err(error) => {
            let before = run.mounts.iter().map(unexpanded).collect::<Vec<_>>();
            object.put_some("mounts", before);
            object.put("mounts_error", error.to_string());
        }
    }
    let devices = run.devices.iter().map(|device| {
        json!({
            "Name": device.name,
            "Required": device.required,
        })
    });
    object.put_some("devices", devices.collect::<Vec<_>>());
}

/// A mount of which only `from` is known.
fn unexpanded(flag: &MountFlag) -> Value {
    mount(&Mount {
        from: flag.from.clone().unwrap_or_default(),
        read_only: true,
        kind: MountKind::Bind,
        ..Mount::default()
    })
}

fn mount(mount: &Mount) -> Value {
    let mut object = Object::default();
    object.put("type", mount.kind.as_str());
    object.put_some("from", mount.from.as_str());
    object.put_some("source", mount.source.as_str());
    object.put_some("target", mount.target.as_str());
    object.put_some("readonly", mount.read_only);
    if mount.size_bytes != 0 {
        object.put("size", mount.size_bytes);
    }
    object.put_some("id", mount.id.as_str());
    object.put_some("sharing", mount.sharing.map(|mode| mode.as_str()));
    object.put_some("required", mount.required);
    object.put_some("env", mount.env.as_deref());
    object.put_some("mode", mount.mode);
    object.put_some("uid", mount.uid);
    object.put_some("gid", mount.gid);
    object.done()
}
