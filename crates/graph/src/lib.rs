//! The instruction DAG: ops, vertices, edges, definition digests
