//! Layers plus config to an OCI layout, archive or directory
