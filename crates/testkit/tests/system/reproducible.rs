//! `SOURCE_DATE_EPOCH` and `rewrite-timestamp`: the same input gives the same image, whoever builds it.

use std::fs;
use std::process::Command;

use rbuild_testkit::{Finished, Listing, Privilege, Tree, granted, run};

use crate::place::{LIMIT, Place, cached_steps};

const EPOCH: &str = "SOURCE_DATE_EPOCH=1600000000";

/// What each step makes has the time in the secret: that of another build is another one.
const DOCKERFILE: &str = "FROM busybox AS build\n\
    RUN --mount=type=secret,id=when mkdir -p /out/d && echo built > /out/d/file && ln /out/d/file /out/link && \\\n\
        ln -s link /out/sym && touch -h -d @$(cat /run/secrets/when) /out/d/file /out/sym /out/d /out\n\
    FROM busybox\n\
    WORKDIR /work/dir\n\
    RUN rm /etc/group && echo x > new\n\
    COPY src /src\n\
    COPY --from=build /out /out\n\
    ADD --chown=33:33 src/a /added/\n\
    COPY <<text /text\nwritten\ntext\n";

/// How one of two builders differs from the other.
struct Builder {
    umask: &'static str,
    threads: &'static str,
    time: i64,
}

const BUILDERS: [Builder; 2] = [
    Builder {
        umask: "022",
        threads: "1",
        time: 1_700_000_000,
    },
    Builder {
        umask: "077",
        threads: "3",
        time: 1_710_000_000,
    },
];

impl Builder {
    /// A place of its own, whose files have the builder's time.
    fn place(&self) -> Place {
        let place = Place::with(
            DOCKERFILE,
            Tree::new()
                .dir("src")
                .mode(0o755)
                .mtime(self.time)
                .file("src/b", "b")
                .mode(0o644)
                .mtime(self.time)
                .file("src/a", "a")
                .mode(0o600)
                .mtime(self.time)
                .file("src/old", "old")
                .mode(0o644)
                .mtime(1_500_000_000),
        );
        fs::write(place.dir().join("when"), self.time.to_string()).expect("write the secret");
        place
    }

    fn build(&self, place: &Place, words: &[&str]) -> Finished {
        let mut all = vec!["--secret", "id=when,src=when"];
        all.extend(words);
        let build = place.build_command(&all);
        let mut command = Command::new("sh");
        command.args(["-c", "umask $0; exec \"$@\"", self.umask]);
        command.arg(build.get_program()).args(build.get_args());
        command.env_remove("RBUILD_ROOT").current_dir(place.dir());
        run(command.env("RAYON_NUM_THREADS", self.threads), LIMIT)
    }

    /// The archive of a build with these attributes of the output.
    fn archive(&self, attributes: &str, words: &[&str]) -> Vec<u8> {
        let place = self.place();
        let spec = format!("type=oci,dest=image.tar{attributes}");
        let mut all = vec!["-o", &spec];
        all.extend(words);
        self.build(&place, &all).expect_success();
        place.assert_intact();
        fs::read(place.dir().join("image.tar")).expect("read the archive")
    }
}

#[test]
fn rewritten_times_make_two_builders_agree() {
    if !granted(Privilege::Root) {
        return;
    }
    for compression in ["gzip", "zstd", "uncompressed"] {
        let attributes = format!(",rewrite-timestamp=true,compression={compression}");
        let [one, two] = BUILDERS.map(|b| b.archive(&attributes, &["--build-arg", EPOCH]));
        assert!(one == two, "{compression} differs");
    }
    // Without rewriting the times of the files are what differs.
    let [one, two] = BUILDERS.map(|b| b.archive("", &["--build-arg", EPOCH]));
    assert!(one != two);
}

#[test]
fn only_later_times_of_new_layers_are_rewritten() {
    if !granted(Privilege::Root) {
        return;
    }
    let [builder, _] = BUILDERS;
    let place = builder.place();
    let output = "type=image,rewrite-timestamp=true";
    let words = ["-t", "capped", "-o", output, "--build-arg", EPOCH];
    builder.build(&place, &words).expect_success();
    let script = "stat -c '%Y %n' /src/a /src/old /src /work/dir/new /out/sym /bin/busybox";
    assert_eq!(
        crate::place::shell_in(&place, "capped", script),
        "1600000000 /src/a\n1500000000 /src/old\n1600000000 /src\n1600000000 /work/dir/new\n\
         1600000000 /out/sym\n0 /bin/busybox\n"
    );
    // The steps' own layers are as they were: a build without the wish finds them in the cache.
    let words = ["-t", "plain", "--build-arg", EPOCH];
    let again = builder.build(&place, &words).expect_success();
    assert!(!cached_steps(&again).is_empty(), "{again}");
    assert_eq!(
        crate::place::shell_in(&place, "plain", "stat -c %Y /src/a"),
        "1700000000\n"
    );
    place.assert_intact();
}

#[test]
fn rewriting_without_an_epoch_is_told_and_changes_nothing() {
    if !granted(Privilege::Root) {
        return;
    }
    let [builder, _] = BUILDERS;
    let place = builder.place();
    let words = ["-o", "type=oci,dest=image.tar,rewrite-timestamp=true"];
    builder.build(&place, &words).expect_success().expect_text(
        "RewriteTimestamp: rewrite-timestamp=true has no effect without SOURCE_DATE_EPOCH",
    );
}

#[test]
fn files_that_are_written_out_have_the_epoch() {
    if !granted(Privilege::Root) {
        return;
    }
    let [builder, _] = BUILDERS;
    let place = builder.place();
    let words = ["-o", "type=local,dest=out", "--build-arg", EPOCH];
    builder.build(&place, &words).expect_success();
    let time = |path: &str| {
        let meta = fs::symlink_metadata(place.dir().join("out").join(path)).expect("look");
        std::os::unix::fs::MetadataExt::mtime(&meta)
    };
    for path in ["src/a", "src/old", "src", "out/sym"] {
        assert_eq!(time(path), 1_600_000_000, "{path}");
    }
    assert!(Listing::of(place.dir().join("out")).get("text").is_some());
}
