//! What comes: the request, and responses of others.

// As in `mod.rs`.
#![expect(unreachable_pub)]

use super::{
    super::{
        Host,
        function_bindings::wasi::http::types::{self, ErrorCode, Method, Scheme},
        streams::Source,
        time::{On, Pollable},
    },
    Coming, Fields, Waited, code_of,
};
use adit_wire::http::{REQUEST_BODY, RequestHead, ResponseHead};
use wasmtime::{Result, component::Resource};

pub struct IncomingRequest {
    head: RequestHead,
    body_taken: bool,
}

impl IncomingRequest {
    pub(crate) fn new(head: RequestHead) -> Self {
        IncomingRequest { head, body_taken: false }
    }
}

pub struct IncomingResponse {
    head: ResponseHead,
    exchange: u32,
    body_taken: bool,
}

/// A body, by its number.
pub struct IncomingBody {
    number: u32,
    stream_taken: bool,
}

/// The end of a body.
pub struct FutureTrailers {
    number: u32,
    taken: bool,
}

/// A response, by the number of its exchange.
pub struct FutureResponse {
    pub(super) exchange: u32,
}

type Trailers = Option<Result<Result<Option<Resource<Fields>>, ErrorCode>, ()>>;

impl types::HostIncomingRequest for Host {
    fn method(&mut self, request: Resource<IncomingRequest>) -> Result<Method> {
        self.charge(0)?;
        Ok(match self.table.get(&request)?.head.method.as_str() {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "CONNECT" => Method::Connect,
            "OPTIONS" => Method::Options,
            "TRACE" => Method::Trace,
            "PATCH" => Method::Patch,
            other => Method::Other(other.to_owned()),
        })
    }

    fn path_with_query(&mut self, request: Resource<IncomingRequest>) -> Result<Option<String>> {
        self.charge(0)?;
        Ok(Some(self.table.get(&request)?.head.target.clone()))
    }

    fn scheme(&mut self, request: Resource<IncomingRequest>) -> Result<Option<Scheme>> {
        self.charge(0)?;
        Ok(Some(if self.table.get(&request)?.head.https { Scheme::Https } else { Scheme::Http }))
    }

    fn authority(&mut self, request: Resource<IncomingRequest>) -> Result<Option<String>> {
        self.charge(0)?;
        Ok(Some(self.table.get(&request)?.head.authority.clone()))
    }

    fn headers(&mut self, request: Resource<IncomingRequest>) -> Result<Resource<Fields>> {
        self.charge(0)?;
        let fields = Fields::fixed(self.table.get(&request)?.head.lines.clone());
        self.handle(fields)
    }

    fn consume(&mut self, request: Resource<IncomingRequest>) -> Result<Result<Resource<IncomingBody>, ()>> {
        self.charge(0)?;
        if std::mem::replace(&mut self.table.get_mut(&request)?.body_taken, true) {
            return Ok(Err(()));
        }
        Ok(Ok(self.handle(IncomingBody { number: REQUEST_BODY, stream_taken: false })?))
    }

    fn drop(&mut self, request: Resource<IncomingRequest>) -> Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

impl types::HostIncomingResponse for Host {
    fn status(&mut self, response: Resource<IncomingResponse>) -> Result<u16> {
        self.charge(0)?;
        Ok(self.table.get(&response)?.head.status)
    }

    fn headers(&mut self, response: Resource<IncomingResponse>) -> Result<Resource<Fields>> {
        self.charge(0)?;
        let fields = Fields::fixed(self.table.get(&response)?.head.lines.clone());
        self.handle(fields)
    }

    fn consume(
        &mut self,
        response: Resource<IncomingResponse>,
    ) -> Result<Result<Resource<IncomingBody>, ()>> {
        self.charge(0)?;
        let response = self.table.get_mut(&response)?;
        if std::mem::replace(&mut response.body_taken, true) {
            return Ok(Err(()));
        }
        let number = response.exchange;
        Ok(Ok(self.handle(IncomingBody { number, stream_taken: false })?))
    }

    fn drop(&mut self, response: Resource<IncomingResponse>) -> Result<()> {
        let response = self.table.delete(response)?;
        if !response.body_taken {
            self.http()?.coming.remove(&response.exchange);
        }
        Ok(())
    }
}

impl types::HostIncomingBody for Host {
    fn stream(&mut self, body: Resource<IncomingBody>) -> Result<Result<Resource<Source>, ()>> {
        self.charge(0)?;
        let body = self.table.get_mut(&body)?;
        if std::mem::replace(&mut body.stream_taken, true) {
            return Ok(Err(()));
        }
        let number = body.number;
        Ok(Ok(self.handle(Source::Http(number))?))
    }

    fn finish(&mut self, body: Resource<IncomingBody>) -> Result<Resource<FutureTrailers>> {
        self.charge(0)?;
        let body = self.table.delete(body)?;
        self.handle(FutureTrailers { number: body.number, taken: false })
    }

    fn drop(&mut self, body: Resource<IncomingBody>) -> Result<()> {
        let body = self.table.delete(body)?;
        self.http()?.coming.remove(&body.number);
        Ok(())
    }
}

impl types::HostFutureTrailers for Host {
    fn subscribe(&mut self, future: Resource<FutureTrailers>) -> Result<Resource<Pollable>> {
        self.charge(0)?;
        let on = On::Body(self.table.get(&future)?.number);
        self.handle(Pollable::of(on))
    }

    fn get(&mut self, future: Resource<FutureTrailers>) -> Result<Trailers> {
        self.charge(0)?;
        let FutureTrailers { number, taken } = *self.table.get(&future)?;
        if taken {
            return Ok(Some(Err(())));
        }
        if !self.look_at(On::Body(number))? {
            return Ok(None);
        }
        let end = match self.http()?.coming.get_mut(&number) {
            None => Ok(Vec::new()),
            Some(coming) => {
                // What was not read until now is not wanted.
                coming.bytes.clear();
                match coming.end.clone() {
                    Some(end) => end,
                    None => return Ok(None),
                }
            }
        };
        self.table.get_mut(&future)?.taken = true;
        Ok(Some(Ok(match end {
            Err(trouble) => Err(code_of(trouble)),
            Ok(lines) if lines.is_empty() => Ok(None),
            Ok(lines) => Ok(Some(self.handle(Fields::fixed(lines))?)),
        })))
    }

    fn drop(&mut self, future: Resource<FutureTrailers>) -> Result<()> {
        let future = self.table.delete(future)?;
        self.http()?.coming.remove(&future.number);
        Ok(())
    }
}

impl types::HostFutureIncomingResponse for Host {
    fn subscribe(&mut self, future: Resource<FutureResponse>) -> Result<Resource<Pollable>> {
        self.charge(0)?;
        let on = On::Response(self.table.get(&future)?.exchange);
        self.handle(Pollable::of(on))
    }

    fn get(
        &mut self,
        future: Resource<FutureResponse>,
    ) -> Result<Option<Result<Result<Resource<IncomingResponse>, ErrorCode>, ()>>> {
        self.charge(0)?;
        let exchange = self.table.get(&future)?.exchange;
        if !self.look_at(On::Response(exchange))? {
            return Ok(None);
        }
        let function = self.http()?;
        let waited = function.responses.insert(exchange, Waited::Taken);
        Ok(Some(match waited {
            Some(Waited::Here(Ok(head))) => {
                function.coming.insert(exchange, Coming::new());
                Ok(Ok(self.handle(IncomingResponse { head, exchange, body_taken: false })?))
            }
            Some(Waited::Here(Err(trouble))) => Ok(Err(code_of(trouble))),
            _ => Err(()),
        }))
    }

    fn drop(&mut self, future: Resource<FutureResponse>) -> Result<()> {
        let future = self.table.delete(future)?;
        self.http()?.responses.remove(&future.exchange);
        Ok(())
    }
}
