//! Objects, records, tags, leases and garbage collection on one disk root
