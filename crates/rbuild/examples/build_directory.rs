//! Builds an image from a directory, and says what happens while it does.
//!
//! ```text
//! cargo run -p rbuild --example build_directory -- DIR NAME
//! ```

use std::process::ExitCode;

use rbuild::oci::Reference;
use rbuild::progress::{CancelToken, Event, Sink};
use rbuild::{BuildRequest, ContextInput, Engine, EngineConfig};

/// Prints each step as it ends.
struct Steps;

impl Sink for Steps {
    fn send(&self, event: Event) {
        if let Event::Vertex(step) = event
            && step.completed.is_some()
        {
            let how = if step.cached { "cached" } else { "done" };
            println!("{how:>6}  {}", step.name);
        }
    }
}

fn main() -> ExitCode {
    // First thing: a RUN is forked from a copy of this program, which turns off here.
    rbuild::nursery_main();
    let mut words = std::env::args().skip(1);
    let (Some(dir), Some(name)) = (words.next(), words.next()) else {
        eprintln!("usage: build_directory DIR NAME");
        return ExitCode::from(2);
    };
    match build(&dir, &name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn build(dir: &str, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let store = std::env::temp_dir().join("rbuild-example");
    let engine = Engine::open(EngineConfig::new(store))?;
    let mut request = BuildRequest::new(ContextInput::Directory(dir.into()));
    request.tags = vec![Reference::parse(name)?];
    let outcome = engine.build(&request, &Steps, &CancelToken::new())?;
    if let Some(id) = outcome.image_id {
        println!("{id}");
    }
    Ok(())
}
