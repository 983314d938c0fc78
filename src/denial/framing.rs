//! Errors in the framing of a message, which are found before its meaning is interpreted.

use http::StatusCode;

/// A framing error of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Head,
    Host,
    Scheme,
    FieldValue,
    TwoAuthorizations,
    TransferCoding,
    ContentLength,
    UnexpectedBody,
    MediaType,
    FormBody,
    Expectation,
    UriTooLong,
    TooManyFields,
    Trailers,
}

impl Framing {
    /// Returns the status of the answer.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Head
            | Self::Host
            | Self::Scheme
            | Self::FieldValue
            | Self::TwoAuthorizations
            | Self::TransferCoding
            | Self::ContentLength
            | Self::UnexpectedBody
            | Self::Trailers => StatusCode::BAD_REQUEST,
            Self::MediaType | Self::FormBody => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }

    /// Returns the message for the user at the client.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Head => {
                "the request head has a line that ends in a bare line feed, or has Content-Length \
                 twice"
            }
            Self::Host => {
                "the request must have exactly one Host: a name or an address, with or without a \
                 port, that agrees with the request target"
            }
            Self::Scheme => "the scheme of the request target must be http or https",
            Self::FieldValue => "a header field value must not begin or end with white space",
            Self::TwoAuthorizations => "the request has more than one Authorization header",
            Self::TransferCoding => {
                "the only supported transfer coding is chunked, once and without Content-Length"
            }
            Self::ContentLength => "Content-Length must be one decimal number, once",
            Self::UnexpectedBody => "this operation takes no body; send the request without one",
            Self::MediaType => "Content-Type must be one media type, type/subtype, in ASCII",
            Self::FormBody => {
                "a manifest cannot be sent as a form: Content-Type must be its media type"
            }
            Self::Expectation => "the only supported expectation is 100-continue, once",
            Self::UriTooLong => "the request target is too long",
            Self::TooManyFields => "the request has more than 100 header fields",
            Self::Trailers => "trailers are not part of the registry protocol",
        }
    }
}
