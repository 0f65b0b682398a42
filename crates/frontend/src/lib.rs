//! Dockerfile tree to DAG: stages, scopes, expansion, one file per instruction
