//! What a running build says and hears: events, sinks, cancellation
