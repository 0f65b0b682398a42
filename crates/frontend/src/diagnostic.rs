//! What is wrong with a Dockerfile once it is given meaning, collected rather than thrown.
//!
//! What the text alone shows is found earlier, by `rbuild-dockerfile`; its findings appear here
//! only for ONBUILD triggers, whose text comes out of an image.

use std::fmt;

use rbuild_dockerfile::{Severity, Span};

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Its stable name.
    pub code: Code,
    /// The text, as BuildKit words it where BuildKit has it.
    pub message: String,
    /// The instructions concerned, first the one to blame; empty when no place is to blame.
    pub spans: Vec<Span>,
    /// The part of the first instruction to point at, where it is known.
    pub mark: Option<Span>,
    /// What to do, as a sentence.
    pub help: Option<String>,
}

/// The stable name of a kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// The file has no stage.
    NoStages,
    /// The target is none of the stages.
    UnknownTarget,
    /// FROM has an empty name after expansion.
    BlankBase,
    /// FROM or `--from` has a name that no image can have.
    InvalidReference,
    /// A `--platform` cannot be understood.
    InvalidPlatform,
    /// A stage uses a stage that is not done before it.
    StageOrder,
    /// Stages need each other.
    CircularDependency,
    /// `--from` has a number that no stage has.
    InvalidStageIndex,
    /// A variable reference cannot be expanded.
    Expansion,
    /// COPY or ADD cannot take this source.
    InvalidSource,
    /// A `--chmod` is no mode.
    InvalidChmod,
    /// A `--mount` cannot be made.
    InvalidMount,
    /// EXPOSE has something that is no port.
    InvalidPort,
    /// STOPSIGNAL has something that is no signal.
    InvalidSignal,
    /// VOLUME has an empty path.
    InvalidVolume,
    /// `SOURCE_DATE_EPOCH` is no time.
    InvalidEpoch,
    /// A step asks for a right that the build was not given.
    NotEntitled,
    /// A step asks for a device, and steps are given none.
    NoDevice,
    /// The text is fine, this version cannot do it yet.
    Unsupported,
    /// Lint: an expansion met a name that nothing sets.
    UndefinedVar,
    /// Lint: FROM refers to a name that is no global argument.
    UndefinedArgInFrom,
    /// Lint: with the defaults alone FROM has no valid name.
    InvalidDefaultArgInFrom,
    /// Lint: the first WORKDIR of a stage is relative.
    WorkdirRelativePath,
    /// Lint: a base image is of another platform than the one asked for.
    InvalidBaseImagePlatform,
    /// Lint: shell form of CMD or ENTRYPOINT without a SHELL.
    JsonArgsRecommended,
    /// Lint: only the last CMD, ENTRYPOINT or HEALTHCHECK counts.
    MultipleInstructionsDisallowed,
    /// Lint: EXPOSE writes a protocol in upper case.
    ExposeProtoCasing,
    /// Lint: EXPOSE has an address or a host port.
    ExposeInvalidFormat,
    /// Lint: `--platform` says what is so anyway.
    RedundantTargetPlatform,
    /// Lint: `--platform` has a fixed value, so that the stage cannot be built for another.
    FromPlatformFlagConstDisallowed,
    /// Lint: ENV or LABEL with a blank between name and value.
    LegacyKeyValueFormat,
    /// Lint: the name of an ARG or ENV promises a secret, which would stay in the image.
    SecretsUsedInArgOrEnv,
    /// Lint: the ignore file keeps a source of COPY or ADD out of the context.
    CopyIgnoredFile,
    /// Own lint: a RUN uses an argument that only FROM lines see.
    ArgOutOfScope,
    /// Own lint: a here-document of RUN goes on after a failure.
    HeredocWithoutErrexit,
    /// Own lint: several sources of COPY or ADD go to one file name.
    SourcesToOneFile,
    /// Own lint: `--chown` has a name that no account file can hold.
    UnknownOwner,
    /// Own lint: a device that a step asks for, but does not require, is not there.
    DeviceLeftOut,
    /// A finding of the parser in an ONBUILD trigger.
    Trigger(rbuild_dockerfile::Code),
}

impl Code {
    /// The code as it is printed and documented; lints have BuildKit's rule names.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::NoStages => "no-stages",
            Code::UnknownTarget => "unknown-target",
            Code::BlankBase => "blank-base",
            Code::InvalidReference => "invalid-reference",
            Code::InvalidPlatform => "invalid-platform",
            Code::StageOrder => "stage-order",
            Code::CircularDependency => "circular-dependency",
            Code::InvalidStageIndex => "invalid-stage-index",
            Code::Expansion => "expansion",
            Code::InvalidSource => "invalid-source",
            Code::InvalidChmod => "invalid-chmod",
            Code::InvalidMount => "invalid-mount",
            Code::InvalidPort => "invalid-port",
            Code::InvalidSignal => "invalid-signal",
            Code::InvalidVolume => "invalid-volume",
            Code::InvalidEpoch => "invalid-epoch",
            Code::NotEntitled => "not-entitled",
            Code::NoDevice => "no-device",
            Code::Unsupported => "unsupported",
            Code::UndefinedVar => "UndefinedVar",
            Code::UndefinedArgInFrom => "UndefinedArgInFrom",
            Code::InvalidDefaultArgInFrom => "InvalidDefaultArgInFrom",
            Code::WorkdirRelativePath => "WorkdirRelativePath",
            Code::InvalidBaseImagePlatform => "InvalidBaseImagePlatform",
            Code::JsonArgsRecommended => "JSONArgsRecommended",
            Code::MultipleInstructionsDisallowed => "MultipleInstructionsDisallowed",
            Code::ExposeProtoCasing => "ExposeProtoCasing",
            Code::ExposeInvalidFormat => "ExposeInvalidFormat",
            Code::RedundantTargetPlatform => "RedundantTargetPlatform",
            Code::FromPlatformFlagConstDisallowed => "FromPlatformFlagConstDisallowed",
            Code::LegacyKeyValueFormat => "LegacyKeyValueFormat",
            Code::SecretsUsedInArgOrEnv => "SecretsUsedInArgOrEnv",
            Code::CopyIgnoredFile => "CopyIgnoredFile",
            Code::ArgOutOfScope => "ArgOutOfScope",
            Code::HeredocWithoutErrexit => "HeredocWithoutErrexit",
            Code::SourcesToOneFile => "SourcesToOneFile",
            Code::UnknownOwner => "UnknownOwner",
            Code::DeviceLeftOut => "DeviceLeftOut",
            Code::Trigger(code) => code.as_str(),
        }
    }
}

impl Diagnostic {
    /// An error at one place.
    pub(crate) fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            spans: vec![span],
            mark: None,
            help: None,
        }
    }

    /// An error that no place is to blame for.
    pub(crate) fn error_nowhere(code: Code, message: impl Into<String>) -> Self {
        Self {
            spans: Vec::new(),
            ..Self::error(code, Span::default(), message)
        }
    }

    /// A warning at one place.
    pub(crate) fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, span, message)
        }
    }

    /// The same, pointing at a part of the instruction.
    pub(crate) fn pointing(self, mark: Option<Span>) -> Self {
        Self { mark, ..self }
    }

    /// The same with a sentence that says what to do.
    pub(crate) fn with_help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    /// Whether the file cannot be built because of this.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}
