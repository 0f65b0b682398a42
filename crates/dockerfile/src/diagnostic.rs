//! What is wrong with a Dockerfile, collected beside the tree instead of thrown.

use crate::source::{LineRange, Span};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The build can go on.
    Warning,
    /// The file cannot be built.
    Error,
}

/// The step at which BuildKit finds the problem; it decides the prefix of the full text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Splitting the text into instruction lines.
    Syntax,
    /// Giving an instruction line its typed form.
    Instruction,
    /// Putting instructions into stages.
    Structure,
}

/// The stable name of a kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// The file is longer than [`crate::source::MAX_FILE_BYTES`].
    FileTooLarge,
    /// The file has no bytes.
    EmptyFile,
    /// The file has only blanks and comments.
    NoInstructions,
    /// The file has no FROM.
    NoStages,
    /// A physical line is longer than 65535 bytes.
    LineTooLong,
    /// A parser directive is repeated.
    DuplicateDirective,
    /// The escape directive names another character than the two allowed.
    InvalidEscape,
    /// The check directive does not parse.
    InvalidCheckOption,
    /// A heredoc has no terminator line.
    UnterminatedHeredoc,
    /// A heredoc stands where none is allowed.
    MisplacedHeredoc,
    /// A JSON array holds something other than strings.
    JsonNotStrings,
    /// An instruction needs its arguments as a JSON array.
    JsonRequired,
    /// ENV or LABEL without a proper name and value.
    InvalidNameValue,
    /// The keyword is none of the eighteen.
    UnknownInstruction,
    /// The instruction has no such flag.
    UnknownFlag,
    /// A flag is given twice.
    DuplicateFlag,
    /// A flag has no value or a wrong one.
    InvalidFlagValue,
    /// Too few or too many arguments.
    ArgumentCount,
    /// FROM gives a stage an unusable name.
    InvalidStageName,
    /// An instruction other than ARG stands before the first FROM.
    NoCurrentStage,
    /// A RUN --mount option list is wrong.
    InvalidMount,
    /// HEALTHCHECK is wrong.
    InvalidHealthcheck,
    /// The instruction cannot be an ONBUILD trigger.
    InvalidTrigger,
    /// Lint: a blank line inside a continued instruction.
    EmptyContinuation,
    /// Lint: the name of a stage has upper-case letters.
    StageNameCasing,
    /// Lint: FROM and AS are in different cases.
    FromAsCasing,
    /// Lint: a keyword is not in the case of most others.
    ConsistentInstructionCasing,
    /// Lint: two stages have one name.
    DuplicateStageName,
    /// Lint: a stage has a name that means something else.
    ReservedStageName,
    /// Lint: MAINTAINER.
    MaintainerDeprecated,
    /// Lint: the comment above ARG or FROM does not begin with the name it describes.
    InvalidDefinitionDescription,
}

impl Code {
    /// Returns the code as it is printed and documented; lints have BuildKit's rule names.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::FileTooLarge => "file-too-large",
            Code::EmptyFile => "empty-file",
            Code::NoInstructions => "no-instructions",
            Code::NoStages => "no-stages",
            Code::LineTooLong => "line-too-long",
            Code::DuplicateDirective => "duplicate-directive",
            Code::InvalidEscape => "invalid-escape",
            Code::InvalidCheckOption => "invalid-check-option",
            Code::UnterminatedHeredoc => "unterminated-heredoc",
            Code::MisplacedHeredoc => "misplaced-heredoc",
            Code::JsonNotStrings => "json-not-strings",
            Code::JsonRequired => "json-required",
            Code::InvalidNameValue => "invalid-name-value",
            Code::UnknownInstruction => "unknown-instruction",
            Code::UnknownFlag => "unknown-flag",
            Code::DuplicateFlag => "duplicate-flag",
            Code::InvalidFlagValue => "invalid-flag-value",
            Code::ArgumentCount => "argument-count",
            Code::InvalidStageName => "invalid-stage-name",
            Code::NoCurrentStage => "no-current-stage",
            Code::InvalidMount => "invalid-mount",
            Code::InvalidHealthcheck => "invalid-healthcheck",
            Code::InvalidTrigger => "invalid-trigger",
            Code::EmptyContinuation => "NoEmptyContinuation",
            Code::StageNameCasing => "StageNameCasing",
            Code::FromAsCasing => "FromAsCasing",
            Code::ConsistentInstructionCasing => "ConsistentInstructionCasing",
            Code::DuplicateStageName => "DuplicateStageName",
            Code::ReservedStageName => "ReservedStageName",
            Code::MaintainerDeprecated => "MaintainerDeprecated",
            Code::InvalidDefinitionDescription => "InvalidDefinitionDescription",
        }
    }
}

/// What is wrong, before it is known in which lines and phase.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Its stable name.
    pub(crate) code: Code,
    /// BuildKit's text.
    pub(crate) message: String,
    /// The bytes to point at.
    pub(crate) span: Span,
    /// What to do.
    pub(crate) help: Option<String>,
}

impl Fault {
    /// Makes a fault without help.
    pub(crate) fn new(code: Code, message: impl Into<String>, span: Span) -> Fault {
        Fault {
            code,
            message: message.into(),
            span,
            help: None,
        }
    }

    /// Adds what to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }

    /// Makes it an error found in this phase, in these lines.
    pub(crate) fn into_error(self, phase: Phase, lines: LineRange) -> Diagnostic {
        self.into_finding(Severity::Error, phase, lines)
    }

    /// Makes it a finding of a rule, in these lines.
    pub(crate) fn into_warning(self, phase: Phase, lines: LineRange) -> Diagnostic {
        self.into_finding(Severity::Warning, phase, lines)
    }

    fn into_finding(self, severity: Severity, phase: Phase, lines: LineRange) -> Diagnostic {
        Diagnostic {
            severity,
            code: self.code,
            phase,
            message: self.message,
            span: self.span,
            lines,
            help: self.help,
        }
    }
}

/// One finding: what, where, how bad, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Its stable name.
    pub code: Code,
    /// When BuildKit would say so.
    pub phase: Phase,
    /// BuildKit's text, without the prefix that names the line.
    pub message: String,
    /// The bytes to point at.
    pub span: Span,
    /// The physical lines BuildKit reports; first line 0 when it knows none.
    pub lines: LineRange,
    /// What to do, as a sentence.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Returns BuildKit's whole text; findings on typed instructions carry the line in front.
    pub fn full_message(&self) -> String {
        match self.phase {
            Phase::Instruction => format!(
                "dockerfile parse error on line {}: {}",
                self.lines.first, self.message
            ),
            Phase::Syntax | Phase::Structure => self.message.clone(),
        }
    }

    /// Says whether the file cannot be built because of this.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
