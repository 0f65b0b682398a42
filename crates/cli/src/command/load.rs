//! `rbuild load`.

use std::io::{self, IsTerminal};
use std::path::Path;

use rbuild::ImageFile;
use rbuild::progress::NullSink;

use super::{CommandError, CommandResult, image_file, open, platforms, print};
use crate::args::LoadArgs;
use crate::signal;

/// Takes the images of a file in and says which, as `docker load` does.
pub fn run(args: LoadArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let file = args.input.as_ref().map_or(ImageFile::Stdin, image_file);
    if file == ImageFile::Stdin && io::stdin().is_terminal() {
        let message = "nothing to load: name a file with --input, or hand one in on standard input";
        return Err(CommandError::Usage(message.to_owned()));
    }
    let platforms = platforms(&args.platforms);
    let loaded = open(root)?.load(&file, &platforms, &NullSink, &cancel)?;
    let mut text = String::new();
    for one in &loaded {
        let id = &one.image.id;
        if args.quiet {
            text.push_str(&format!("{id}\n"));
        } else if one.names.is_empty() {
            text.push_str(&format!("Loaded image ID: {id}\n"));
        }
        for name in one.names.iter().filter(|_| !args.quiet) {
            text.push_str(&format!("Loaded image: {}\n", name.familiar()));
        }
    }
    print(&text)
}
