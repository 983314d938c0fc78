//! Who a caller is.

pub mod htpasswd_file;
