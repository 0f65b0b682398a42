//! Variables that nothing sets.

use crate::scope::Globals;

/// What to do about a variable of a stage that has no value.
pub(crate) fn help(name: &str, globals: &Globals) -> String {
    let is_global = globals.declared.iter().any(|global| global == name);
    match (is_global, globals.scope.get(name)) {
        (true, _) => format!("What is declared before FROM is for FROM: repeat `ARG {name}` here."),
        (false, Some(_)) => format!("Write `ARG {name}` first: stages see it only if they ask."),
        (false, None) => {
            "Set it with ARG or ENV first, or write `\\$` for a dollar sign.".to_owned()
        }
    }
}
