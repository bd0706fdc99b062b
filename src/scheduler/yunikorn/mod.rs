//! YuniKorn.
