//! The nursery, and one isolated process over a mounted root
