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
                "a line that ends in a bare line feed, or a Content-Length that is given twice"
            }
            Self::Host => {
                "exactly one Host is needed, a name or an address and at most a port, and it must agree with the request's target"
            }
            Self::Scheme => "the scheme of a request's target is http or https",
            Self::FieldValue => "a header field's value neither begins nor ends with white space",
            Self::TwoAuthorizations => "more than one Authorization header",
            Self::TransferCoding => "the only transfer coding understood is chunked, once",
            Self::ContentLength => "a Content-Length is one decimal number, once",
            Self::UnexpectedBody => "this operation takes no body",
            Self::MediaType => "a Content-Type is one media type, type/subtype, in plain ASCII",
            Self::FormBody => "a manifest is no form: its Content-Type is its media type",
            Self::Expectation => "the only expectation understood is 100-continue, once",
            Self::UriTooLong => "the request's target is too long",
            Self::TooManyFields => "more than 100 header fields",
            Self::Trailers => "trailers are not part of the registry protocol",
        }
    }
}
