//! A layer's index, merged view, blob form and tree form
