//! Scenario files: good ones decode to what they say, bad ones are refused where they are wrong.
//! One binary, since each links all of podpace.
mod errors;
mod files;
