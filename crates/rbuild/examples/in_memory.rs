//! Builds an image from a Dockerfile that exists only in this program, without any privilege.

use rbuild::oci::Reference;
use rbuild::progress::{CancelToken, NullSink};
use rbuild::{BuildRequest, ContextInput, DockerfileInput, Engine, EngineConfig};

const DOCKERFILE: &str = r#"
FROM scratch
COPY <<greeting /greeting
hello from a program
greeting
LABEL made.by=example
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    rbuild::nursery_main();
    let store = std::env::temp_dir().join("rbuild-example");
    let engine = Engine::open(EngineConfig::new(store))?;
    let mut request = BuildRequest::new(ContextInput::Empty);
    request.dockerfile = DockerfileInput::Text(DOCKERFILE.into());
    request.tags = vec![Reference::parse("greeting")?];
    let outcome = engine.build(&request, &NullSink, &CancelToken::new())?;
    println!("{:?}", outcome.image_id.map(|id| id.to_string()));
    let image = engine.image("greeting", None)?;
    println!(
        "{} layer(s), {} bytes",
        image.layer_sizes.len(),
        image.summary.size_bytes
    );
    Ok(())
}
