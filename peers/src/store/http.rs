//! Requests to a server on this machine.

use std::time::Duration;

use tsmith_bench::PeerResult;
use ureq::Agent;

/// Longest time of a request.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Keeps its connections open.
#[derive(Clone, Debug)]
pub(super) struct Client {
    agent: Agent,
    url: String,
}

impl Client {
    pub(super) fn new(port: u16) -> Self {
        let config = Agent::config_builder();
        // Servers explain a refusal in the body.
        let config = config.timeout_global(Some(TIMEOUT)).http_status_as_error(false).proxy(None).build();
        Self { agent: config.into(), url: format!("http://127.0.0.1:{port}") }
    }

    /// Returns the body of the response.
    pub(super) fn get(&self, path: &str, query: &[(&str, &str)]) -> PeerResult<Vec<u8>> {
        let request = self.agent.get(format!("{}{path}", self.url)).query_pairs(query.iter().copied());
        body(path, request.call()?)
    }

    /// The same for a request that changes something.
    pub(super) fn post(&self, path: &str, query: &[(&str, &str)], text: &[u8]) -> PeerResult<Vec<u8>> {
        let request = self.agent.post(format!("{}{path}", self.url)).query_pairs(query.iter().copied());
        body(path, request.send(text)?)
    }
}

fn body(path: &str, response: ureq::http::Response<ureq::Body>) -> PeerResult<Vec<u8>> {
    let status = response.status();
    let bytes = response.into_body().into_with_config().limit(u64::MAX).read_to_vec()?;
    if status.is_success() {
        Ok(bytes)
    } else {
        Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&bytes).trim()).into())
    }
}
