//! Where bytes come from: build context, stat cache, content digests, images
