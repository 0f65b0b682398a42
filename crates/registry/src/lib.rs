//! Distribution-spec client: resolve, fetch, authenticate
