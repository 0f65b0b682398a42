//! The syscall fence: safe calls over the few things rustix does not offer
