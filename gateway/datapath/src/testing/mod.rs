//! What fuzz targets check, and the tests that replay their corpora. In no release build.

pub mod fuzz;
