//! control_plane
pub mod token_bucket;
