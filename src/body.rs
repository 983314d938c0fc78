//! Bodies on their way through the gate: request bodies from the client to the registry, response
//! bodies back. Except for a [`form`], no body is ever in memory as a whole. Each piece is asked
//! for only when the other side has room.

pub mod form;
mod piece;
mod progress;
mod request;
mod response;

pub use piece::Piece;
pub use progress::{BodyFailure, Progress};
pub use request::{NotEmpty, RequestBody};
pub use response::{ResponseBody, ResponseObserver};
