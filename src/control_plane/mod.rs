//! control_plane
pub mod apf;
pub mod token_bucket;
