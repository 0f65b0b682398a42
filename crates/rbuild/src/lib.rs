//! A Dockerfile build engine as a library: a request in, an outcome out.
//!
//! ```no_run
//! use rbuild::progress::{CancelToken, NullSink};
//! use rbuild::{BuildRequest, ContextInput, Engine, EngineConfig};
//!
//! fn main() -> Result<(), rbuild::BuildError> {
//!     rbuild::nursery_main(); // first thing in main: steps are forked from a copy of this program
//!     let engine = Engine::open(EngineConfig::new("/var/lib/my-builds"))?;
//!     let request = BuildRequest::new(ContextInput::Directory(".".into()));
//!     let outcome = engine.build(&request, &NullSink, &CancelToken::new())?;
//!     println!("{:?}", outcome.image_id);
//!     Ok(())
//! }
//! ```
//!
//! `pipeline.rs` is the way from text to image, top to bottom; whoever has read it knows where
//! everything is. Nothing here prints, reads the environment or looks for a home directory.

mod answer;
mod cache_dirs;
mod caches;
mod call;
mod check;
mod collect;
mod config;
mod deliver;
mod doctor;
mod elsewhere;
mod engine;
mod explain;
mod image_config;
mod images;
mod index;
mod intake;
mod kept;
mod lint;
mod load;
mod lock;
mod login;
mod lower;
mod nursery;
mod opened;
mod oracle;
mod outcome;
mod output_note;
mod pipeline;
mod places;
mod planning;
mod push;
mod remedy;
mod report;
mod reproduce;
mod request;
mod rule;
mod run;
pub mod signal;
mod stand_in;
mod step;
mod transfer;
mod verify;
mod warnings;
mod wishes;
mod workers;

/// Events, sinks and cancellation of a running build.
pub mod progress {
    pub use rbuild_progress::*;
}

/// The nouns of the OCI specifications.
pub mod oci {
    pub use rbuild_oci::*;
}

pub use call::{OutlineReport, Target, TargetsReport};
pub use check::{CheckReport, Finding};
pub use collect::{
    CacheEntry, CacheFilter, CacheKind, Compare, DiskUsage, Limits, PruneRequest, PruneScope,
    Pruned,
};
pub use config::EngineConfig;
pub use doctor::{Finding as DoctorFinding, Health, PlaceHealth, doctor, patient};
pub use elsewhere::{is_remote_context, is_ssh_context};
pub use engine::{Engine, Removal};
pub use explain::{
    CarriedRun, Change, Compared, ComparedStep, Difference, FileChange, FileChanges, FileFate, How,
    Reason, Run, RunStep, difference_lines, reason_lines, steps_named,
};
pub use images::{ImageDetails, ImageSummary, Removed, StoredImage};
pub use index::{IndexMade, IndexRequest, IndexSource, InspectedIndex, Single, Standing};
pub use load::{ContainerEngine, ContainerEngines, DockerPlace, LoadWay, LoadedInto};
pub use lock::{
    Lock, LockChange, LockEntry, LockPolicy, LockProblem, LockReport, LockRequest, LockUpdate,
    LockUse, LockWriting, LockedCommit, LockedFile, LockedImage, LockedPlace, OtherEntries, What,
};
pub use login::{LoggedIn, LoggedOut, Login, login, logout, registry_name};
pub use nursery::nursery_main;
pub use opened::ImageFile;
pub use oracle::parse_json;
pub use outcome::{Outcome, StepCount};
pub use output_note::idle_attributes;
pub use push::PushedImage;
pub use rbuild_cache::{
    CacheFrom, CacheTo, Error as CacheError, PlaceEnv, PublicKey, SigningKey, Trust, Writer,
    azblob, gha, s3,
};
pub use rbuild_dockerfile::{LineRange, Position, SourceFile, Span};
pub use rbuild_exporter::{
    Annotation, AnnotationPlace, Dangling, Dest, Error as ExportError, Export, ExportSpec,
    Exported, ImageOptions, ImageOutput, Keep, Platforms, check_file_place,
};
pub use rbuild_frontend::{Access, Entitlements, NoCache, Parameter, TargetOutline};
pub use rbuild_graph::{NetworkMode, Ulimit};
pub use rbuild_registry::{
    CredentialPlace, DaemonAddress, DockerFiles, HostFiles, Kept, LoginCheck, Patient, PlaceTrust,
    PodmanFiles, ProxyConfig, Reach, Secret, Step,
};
pub use rbuild_source::{CommitPin, FilePin, GitConfig, RemoteLimits};
pub use report::{BuildError, ErrorKind, Excerpt, Report, Result};
pub use request::{
    ArchiveInput, BuildRequest, CacheRequest, ContextInput, DockerfileInput, NamedContextInput,
    NewPrivileges, OnMiss, PullPolicy, ResolveOrder, SecretInput, SecretSource,
};
pub use run::{RunIo, RunRequest, Volume};
pub use transfer::{Loaded, SaveDest, SaveRequest};
pub use verify::VerifySummary;
