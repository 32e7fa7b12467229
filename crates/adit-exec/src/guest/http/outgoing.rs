//! What goes: the response, and requests to others.

// As in `mod.rs`.
#![expect(unreachable_pub)]

use super::{
    super::{
        Host,
        function_bindings::wasi::http::{
            outgoing_handler,
            types::{self, ErrorCode, Method, Scheme},
        },
        streams::Sink,
    },
    Fields, FutureResponse, HttpError, Waited,
};
use adit_wire::http::{MAX_METHOD, MAX_TARGET, RequestHead, ResponseHead};
use wasmtime::{Result, component::Resource};

pub struct OutgoingRequest {
    number: u32,
    method: Method,
    target: Option<String>,
    scheme: Option<Scheme>,
    authority: Option<String>,
    fields: Fields,
    body_taken: bool,
}

pub struct OutgoingResponse {
    number: u32,
    status: u16,
    fields: Fields,
    body_taken: bool,
}

/// A body, by its number.
pub struct OutgoingBody {
    number: u32,
    stream_taken: bool,
}

/// Where the response is to be given.
pub struct Outparam;

/// How long to wait, in nanoseconds. The node has limits of its own for the rest.
#[derive(Default)]
pub struct RequestOptions {
    connect: Option<u64>,
    first_byte: Option<u64>,
    between_bytes: Option<u64>,
}

fn word_of(method: &Method) -> String {
    match method {
        Method::Get => "GET".into(),
        Method::Head => "HEAD".into(),
        Method::Post => "POST".into(),
        Method::Put => "PUT".into(),
        Method::Delete => "DELETE".into(),
        Method::Connect => "CONNECT".into(),
        Method::Options => "OPTIONS".into(),
        Method::Trace => "TRACE".into(),
        Method::Patch => "PATCH".into(),
        Method::Other(word) => word.clone(),
    }
}

fn is_token(word: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !word.is_empty() && word.len() <= MAX_METHOD && word.bytes().all(token)
}

/// Nothing in it ends a line or a part of one.
fn is_plain(text: &str) -> bool {
    text.len() <= MAX_TARGET && text.bytes().all(|byte| (0x21..0x7f).contains(&byte))
}

impl types::HostOutgoingRequest for Host {
    fn new(&mut self, fields: Resource<Fields>) -> Result<Resource<OutgoingRequest>> {
        self.charge(0)?;
        let fields = Fields::fixed(self.table.delete(fields)?.lines);
        let number = self.http()?.number();
        self.handle(OutgoingRequest {
            number,
            method: Method::Get,
            target: None,
            scheme: None,
            authority: None,
            fields,
            body_taken: false,
        })
    }

    fn body(&mut self, request: Resource<OutgoingRequest>) -> Result<Result<Resource<OutgoingBody>, ()>> {
        self.charge(0)?;
        let request = self.table.get_mut(&request)?;
        if std::mem::replace(&mut request.body_taken, true) {
            return Ok(Err(()));
        }
        let number = request.number;
        Ok(Ok(self.handle(OutgoingBody { number, stream_taken: false })?))
    }

    fn method(&mut self, request: Resource<OutgoingRequest>) -> Result<Method> {
        self.charge(0)?;
        Ok(self.table.get(&request)?.method.clone())
    }

    fn set_method(&mut self, request: Resource<OutgoingRequest>, method: Method) -> Result<Result<(), ()>> {
        self.charge(0)?;
        if !is_token(&word_of(&method)) {
            return Ok(Err(()));
        }
        self.table.get_mut(&request)?.method = method;
        Ok(Ok(()))
    }

    fn path_with_query(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<String>> {
        self.charge(0)?;
        Ok(self.table.get(&request)?.target.clone())
    }

    fn set_path_with_query(
        &mut self,
        request: Resource<OutgoingRequest>,
        target: Option<String>,
    ) -> Result<Result<(), ()>> {
        self.charge(0)?;
        if target.as_ref().is_some_and(|target| !is_plain(target)) {
            return Ok(Err(()));
        }
        self.table.get_mut(&request)?.target = target;
        Ok(Ok(()))
    }

    fn scheme(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<Scheme>> {
        self.charge(0)?;
        Ok(self.table.get(&request)?.scheme.clone())
    }

    fn set_scheme(
        &mut self,
        request: Resource<OutgoingRequest>,
        scheme: Option<Scheme>,
    ) -> Result<Result<(), ()>> {
        self.charge(0)?;
        if matches!(scheme, Some(Scheme::Other(_))) {
            return Ok(Err(()));
        }
        self.table.get_mut(&request)?.scheme = scheme;
        Ok(Ok(()))
    }

    fn authority(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<String>> {
        self.charge(0)?;
        Ok(self.table.get(&request)?.authority.clone())
    }

    fn set_authority(
        &mut self,
        request: Resource<OutgoingRequest>,
        authority: Option<String>,
    ) -> Result<Result<(), ()>> {
        self.charge(0)?;
        if authority.as_ref().is_some_and(|authority| !is_plain(authority)) {
            return Ok(Err(()));
        }
        self.table.get_mut(&request)?.authority = authority;
        Ok(Ok(()))
    }

    fn headers(&mut self, request: Resource<OutgoingRequest>) -> Result<Resource<Fields>> {
        self.charge(0)?;
        let fields = self.table.get(&request)?.fields.clone();
        self.handle(fields)
    }

    fn drop(&mut self, request: Resource<OutgoingRequest>) -> Result<()> {
        let request = self.table.delete(request)?;
        self.http()?.going.remove(&request.number);
        Ok(())
    }
}

impl outgoing_handler::Host for Host {
    fn handle(
        &mut self,
        request: Resource<OutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> Result<Resource<FutureResponse>, HttpError> {
        self.charge(0)?;
        let patience = match options {
            Some(options) => self.table.get(&options)?.first_byte.unwrap_or(0),
            None => 0,
        };
        let request = self.table.delete(request)?;
        let Some(authority) = request.authority else {
            return Err(HttpError::Code(ErrorCode::HttpRequestUriInvalid));
        };
        let head = RequestHead {
            method: word_of(&request.method),
            https: !matches!(request.scheme, Some(Scheme::Http)),
            authority,
            target: request.target.unwrap_or_else(|| "/".into()),
            lines: request.fields.lines,
        };
        let function = self.http()?;
        let exchange = request.number;
        function.responses.insert(exchange, Waited::Unsent { head: Box::new(head), patience });
        let whole = function.going.get(&exchange).is_none_or(|going| going.end.is_some());
        if whole && (!request.body_taken || function.going.contains_key(&exchange)) {
            function.dispatch(exchange)?;
        }
        Ok(Host::handle(self, FutureResponse { exchange })?)
    }
}

impl types::HostOutgoingResponse for Host {
    fn new(&mut self, fields: Resource<Fields>) -> Result<Resource<OutgoingResponse>> {
        self.charge(0)?;
        let fields = Fields::fixed(self.table.delete(fields)?.lines);
        let number = self.http()?.number();
        self.handle(OutgoingResponse { number, status: 200, fields, body_taken: false })
    }

    fn status_code(&mut self, response: Resource<OutgoingResponse>) -> Result<u16> {
        self.charge(0)?;
        Ok(self.table.get(&response)?.status)
    }

    fn set_status_code(
        &mut self,
        response: Resource<OutgoingResponse>,
        status: u16,
    ) -> Result<Result<(), ()>> {
        self.charge(0)?;
        // 1xx are no responses, and what hyper would take for one must not be one.
        if !(200..600).contains(&status) {
            return Ok(Err(()));
        }
        self.table.get_mut(&response)?.status = status;
        Ok(Ok(()))
    }

    fn headers(&mut self, response: Resource<OutgoingResponse>) -> Result<Resource<Fields>> {
        self.charge(0)?;
        let fields = self.table.get(&response)?.fields.clone();
        self.handle(fields)
    }

    fn body(&mut self, response: Resource<OutgoingResponse>) -> Result<Result<Resource<OutgoingBody>, ()>> {
        self.charge(0)?;
        let response = self.table.get_mut(&response)?;
        if std::mem::replace(&mut response.body_taken, true) {
            return Ok(Err(()));
        }
        let number = response.number;
        Ok(Ok(self.handle(OutgoingBody { number, stream_taken: false })?))
    }

    fn drop(&mut self, response: Resource<OutgoingResponse>) -> Result<()> {
        self.table.delete(response)?;
        Ok(())
    }
}

impl types::HostResponseOutparam for Host {
    fn send_informational(
        &mut self,
        _: Resource<Outparam>,
        _: u16,
        fields: Resource<Fields>,
    ) -> Result<(), HttpError> {
        self.charge(0)?;
        self.table.delete(fields)?;
        Err(HttpError::Code(ErrorCode::InternalError(Some("informational responses are not sent".into()))))
    }

    fn set(
        &mut self,
        outparam: Resource<Outparam>,
        response: Result<Resource<OutgoingResponse>, ErrorCode>,
    ) -> Result<()> {
        self.charge(0)?;
        self.table.delete(outparam)?;
        let (number, head) = match response {
            Ok(response) => {
                let response = self.table.delete(response)?;
                let head = ResponseHead { status: response.status, lines: response.fields.lines };
                let function = self.http()?;
                if !response.body_taken {
                    function.going.entry(response.number).or_default().end = Some(Vec::new());
                }
                (response.number, head)
            }
            // The function says itself that it failed.
            Err(_) => {
                let function = self.http()?;
                let number = function.number();
                let going = function.going.entry(number).or_default();
                going.bytes = b"the function failed\n".to_vec();
                going.end = Some(Vec::new());
                (number, ResponseHead { status: 502, lines: Vec::new() })
            }
        };
        let function = self.http()?;
        function.answer = Some(number);
        function.head = Some(head);
        Ok(())
    }

    fn drop(&mut self, outparam: Resource<Outparam>) -> Result<()> {
        self.table.delete(outparam)?;
        Ok(())
    }
}

impl types::HostOutgoingBody for Host {
    fn write(&mut self, body: Resource<OutgoingBody>) -> Result<Result<Resource<Sink>, ()>> {
        self.charge(0)?;
        let body = self.table.get_mut(&body)?;
        if std::mem::replace(&mut body.stream_taken, true) {
            return Ok(Err(()));
        }
        let number = body.number;
        Ok(Ok(self.handle(Sink::Http(number))?))
    }

    fn finish(
        &mut self,
        body: Resource<OutgoingBody>,
        trailers: Option<Resource<Fields>>,
    ) -> Result<(), HttpError> {
        self.charge(0)?;
        let number = self.table.delete(body)?.number;
        let lines = match trailers {
            Some(fields) => self.table.delete(fields)?.lines,
            None => Vec::new(),
        };
        let function = self.http()?;
        function.going.entry(number).or_default().end = Some(lines);
        function.dispatch(number)?;
        Ok(())
    }

    fn drop(&mut self, body: Resource<OutgoingBody>) -> Result<()> {
        // Not finished: whoever reads it shall see that it broke off, and the node sees to that.
        self.table.delete(body)?;
        Ok(())
    }
}

macro_rules! patience {
    ($($get:ident $set:ident $field:ident),*) => {
        impl types::HostRequestOptions for Host {
            fn new(&mut self) -> Result<Resource<RequestOptions>> {
                self.charge(0)?;
                self.handle(RequestOptions::default())
            }

            $(
                fn $get(&mut self, options: Resource<RequestOptions>) -> Result<Option<u64>> {
                    self.charge(0)?;
                    Ok(self.table.get(&options)?.$field)
                }

                fn $set(
                    &mut self,
                    options: Resource<RequestOptions>,
                    nanos: Option<u64>,
                ) -> Result<Result<(), ()>> {
                    self.charge(0)?;
                    self.table.get_mut(&options)?.$field = nanos;
                    Ok(Ok(()))
                }
            )*

            fn drop(&mut self, options: Resource<RequestOptions>) -> Result<()> {
                self.table.delete(options)?;
                Ok(())
            }
        }
    };
}
patience!(
    connect_timeout set_connect_timeout connect,
    first_byte_timeout set_first_byte_timeout first_byte,
    between_bytes_timeout set_between_bytes_timeout between_bytes
);
