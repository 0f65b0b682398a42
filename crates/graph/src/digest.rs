//! Digests of definitions: which bytes name an op, and which of them count in a cache key.
//!
//! The bytes are written by hand, field by field, each variable part with its length in front, so
//! that the rules can be read here and no two definitions share an encoding. Two views exist:
//! the whole op, which names a vertex, and the key view, which leaves out what must not
//! cause a rebuild. What an input *holds* is not known here; the solver adds it.

use rbuild_oci::{Digest, Platform};

use crate::canon::{Canon, View};
use crate::{
    Chmod, CopyAction, ExecMount, ExecMountKind, ExecOp, FileAction, FileOp, GitOp, GitTake,
    GitTimes, HttpOp, ImageOp, ImageOrigin, MkdirAction, NetworkMode, Op, Owner, OwnerId,
    SecurityMode, Sharing, VertexId, WriteAction,
};

/// The digest of an op without its inputs: the part of a cache key that the op itself decides.
///
/// Left out are proxy settings, the source path of mounts in an input (its content counts
/// instead), id and sharing of a cache mount whose id was written down, the
/// addresses of extra hosts, the directory part of COPY sources, and all that only says where an
/// image can be had.
pub fn op_key(op: &Op) -> Digest {
    let mut canon = Canon::new(View::Key);
    canon.op(op);
    canon.finish()
}

/// The definition digest of a vertex: the whole op and the ids of its inputs, in order.
pub(crate) fn vertex_id<'a>(op: &Op, inputs: impl Iterator<Item = &'a VertexId>) -> VertexId {
    let mut canon = Canon::new(View::Whole);
    canon.op(op);
    canon.list(inputs, |canon, id| canon.text(&id.to_string()));
    VertexId(canon.finish())
}

impl Canon {
    // Each pattern names every field, so that a new one cannot be forgotten.

    fn op(&mut self, op: &Op) {
        match op {
            Op::Image(image) => {
                self.tag(1);
                self.image(image);
            }
            Op::Local(local) => {
                self.tag(2);
                self.text(&local.name);
            }
            Op::Exec(exec) => {
                self.tag(3);
                self.exec(exec);
            }
            Op::File(file) => {
                self.tag(4);
                self.file(file);
            }
            Op::Http(http) => {
                self.tag(5);
                self.http(http);
            }
            Op::Git(git) => {
                self.tag(6);
                self.git(git);
            }
        }
    }

    fn http(&mut self, http: &HttpOp) {
        let HttpOp {
            url,
            name,
            checksum,
        } = http;
        self.maybe(url.as_deref(), Self::text);
        self.text(name);
        self.maybe(checksum.as_ref(), |canon, digest| {
            canon.text(digest.as_str())
        });
    }

    fn git(&mut self, git: &GitOp) {
        let GitOp {
            remote,
            reference,
            commit,
            subdir,
            checksum,
            take: GitTake {
                git_dir,
                submodules,
            },
            times,
        } = git;
        self.text(remote);
        self.text(reference);
        self.maybe(commit.as_deref(), Self::text);
        self.text(subdir);
        self.maybe(checksum.as_deref(), Self::text);
        self.flag(*git_dir);
        self.flag(*submodules);
        self.tag(match times {
            GitTimes::Checkout => 1,
            GitTimes::Commit => 2,
        });
    }

    fn platform(&mut self, platform: &Platform) {
        let Platform {
            os,
            architecture,
            variant,
            os_version,
            os_features,
        } = platform;
        self.text(os);
        self.text(architecture);
        self.maybe(variant.as_deref(), Self::text);
        self.maybe(os_version.as_deref(), Self::text);
        self.texts(os_features);
    }

    fn image(&mut self, image: &ImageOp) {
        // Two references to one manifest are one image.
        let ImageOp {
            reference: _,
            manifest,
            platform,
            diff_ids,
            origin,
        } = image;
        self.text(&manifest.to_string());
        self.platform(platform);
        self.list(diff_ids.iter(), |canon, diff| {
            canon.text(&diff.0.to_string())
        });
        if self.whole() {
            match origin {
                ImageOrigin::Registry => self.tag(1),
                ImageOrigin::Store { image_id } => {
                    self.tag(2);
                    self.text(image_id);
                }
                ImageOrigin::Layout { dir } => {
                    self.tag(3);
                    self.text(dir);
                }
            }
        }
    }

    fn exec(&mut self, exec: &ExecOp) {
        let ExecOp {
            args,
            env,
            proxy_env,
            cwd,
            user,
            network,
            security,
            hostname,
            base,
            mounts,
            platform,
            extra_hosts,
            shm_size,
            ulimits,
        } = exec;
        self.texts(args);
        self.pairs(env);
        if self.whole() {
            self.pairs(proxy_env);
        }
        self.text(cwd);
        self.text(user);
        self.tag(match network {
            NetworkMode::Default => 1,
            NetworkMode::None => 2,
            NetworkMode::Host => 3,
        });
        self.tag(match security {
            SecurityMode::Sandbox => 1,
            SecurityMode::Insecure => 2,
        });
        self.text(hostname);
        self.maybe(*base, Self::index);
        self.list(mounts.iter(), Self::mount);
        self.platform(platform);
        self.list(extra_hosts.iter(), |canon, (name, address)| {
            canon.text(name);
            if canon.whole() {
                canon.text(address);
            }
        });
        self.number(*shm_size);
        self.list(ulimits.iter(), |canon, limit| {
            canon.text(&limit.name);
            canon.signed(limit.soft);
            canon.signed(limit.hard);
        });
    }

    fn mount(&mut self, mount: &ExecMount) {
        let ExecMount {
            target,
            kind,
            read_only,
        } = mount;
        self.text(target);
        self.flag(*read_only);
        match kind {
            ExecMountKind::Bind { input, source } => {
                self.tag(1);
                self.index(*input);
                if self.whole() {
                    self.text(source);
                }
            }
            ExecMountKind::Cache { .. } => {
                self.tag(2);
                self.cache_mount(kind);
            }
            ExecMountKind::Tmpfs { size } => {
                self.tag(3);
                self.maybe(*size, Self::number);
            }
            ExecMountKind::Secret {
                id,
                target,
                env,
                required,
                mode,
                uid,
                gid,
            } => {
                self.tag(4);
                self.named_file(id, target.as_deref(), *required, [mode, uid, gid]);
                self.maybe(env.as_deref(), Self::text);
            }
            ExecMountKind::Ssh {
                id,
                target,
                required,
                mode,
                uid,
                gid,
            } => {
                self.tag(5);
                self.named_file(id, target.as_deref(), *required, [mode, uid, gid]);
            }
            ExecMountKind::File { bytes, mode } => {
                self.tag(6);
                self.blob(bytes);
                self.number((*mode).into());
            }
        }
    }

    fn named_file(&mut self, id: &str, target: Option<&str>, required: bool, owner: [&u32; 3]) {
        self.text(id);
        self.maybe(target, Self::text);
        self.flag(required);
        self.list(owner.into_iter(), |canon, n| canon.number((*n).into()));
    }

    fn cache_mount(&mut self, kind: &ExecMountKind) {
        let ExecMountKind::Cache {
            id,
            explicit_id,
            input,
            source,
            sharing,
            mode,
            uid,
            gid,
        } = kind
        else {
            return;
        };
        self.flag(*explicit_id);
        if self.whole() || !explicit_id {
            self.text(id);
            self.tag(match sharing {
                Sharing::Shared => 1,
                Sharing::Private => 2,
                Sharing::Locked => 3,
            });
        }
        self.maybe(*input, Self::index);
        // Nothing else stands for a folder of the cache itself.
        if self.whole() || input.is_none() {
            self.text(source);
        }
        for part in [mode, uid, gid] {
            self.maybe(*part, |canon, n| canon.number(n.into()));
        }
    }

    fn file(&mut self, file: &FileOp) {
        let FileOp {
            base,
            link,
            actions,
        } = file;
        self.maybe(*base, Self::index);
        self.flag(*link);
        self.list(actions.iter(), |canon, action| match action {
            FileAction::Copy(copy) => {
                canon.tag(1);
                canon.copy(copy);
            }
            FileAction::Mkdir(mkdir) => {
                canon.tag(2);
                canon.mkdir(mkdir);
            }
            FileAction::Write(write) => {
                canon.tag(3);
                canon.write(write);
            }
        });
    }

    fn copy(&mut self, copy: &CopyAction) {
        let CopyAction {
            input,
            sources,
            dest,
            dest_is_dir,
            owner,
            chmod,
            excludes,
            parents,
            unpack,
            local,
        } = copy;
        self.index(*input);
        self.list(sources.iter(), |canon, source| match canon.view {
            View::Whole => canon.text(source),
            View::Key => canon.text(keyed_source(copy, source)),
        });
        self.text(dest);
        self.flag(*dest_is_dir);
        self.maybe(owner.as_ref(), Self::owner);
        self.maybe(chmod.as_ref(), Self::chmod);
        self.texts(excludes);
        self.flag(*parents);
        self.flag(*unpack);
        self.flag(*local);
    }

    fn mkdir(&mut self, mkdir: &MkdirAction) {
        let MkdirAction {
            path,
            mode,
            owner,
            epoch,
        } = mkdir;
        self.text(path);
        self.number((*mode).into());
        self.maybe(owner.as_ref(), Self::owner);
        self.maybe(*epoch, Self::signed);
    }

    fn write(&mut self, write: &WriteAction) {
        let WriteAction {
            path,
            dest,
            dest_is_dir,
            data,
            mode,
            owner,
            chmod,
        } = write;
        self.text(path);
        self.text(dest);
        self.flag(*dest_is_dir);
        self.blob(data);
        self.number((*mode).into());
        self.maybe(owner.as_ref(), Self::owner);
        self.maybe(chmod.as_ref(), Self::chmod);
    }

    fn owner(&mut self, owner: &Owner) {
        let Owner { user, group } = owner;
        self.owner_id(user);
        self.maybe(group.as_ref(), Self::owner_id);
    }

    fn owner_id(&mut self, id: &OwnerId) {
        match id {
            OwnerId::Id(id) => {
                self.tag(1);
                self.number((*id).into());
            }
            OwnerId::Name(name) => {
                self.tag(2);
                self.text(name);
            }
        }
    }

    fn chmod(&mut self, chmod: &Chmod) {
        match chmod {
            Chmod::Octal(mode) => {
                self.tag(1);
                self.number((*mode).into());
            }
            Chmod::Symbolic(text) => {
                self.tag(2);
                self.text(text);
            }
        }
    }
}

/// The part of one of the sources of a copy that counts in keys.
pub fn keyed_source<'s>(copy: &CopyAction, source: &'s str) -> &'s str {
    if copy.parents {
        kept_part(source)
    } else {
        base_name(source)
    }
}

/// The last component: renaming a source must miss, moving it must not.
fn base_name(source: &str) -> &str {
    source.rsplit('/').next().unwrap_or(source)
}

/// The part of a `--parents` source that appears below the destination.
fn kept_part(source: &str) -> &str {
    source.split_once("/./").map_or(source, |(_, kept)| kept)
}

#[cfg(test)]
mod tests;
