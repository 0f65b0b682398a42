//! OCI nouns as plain data: digest, descriptor, manifest, index, config, platform, reference
