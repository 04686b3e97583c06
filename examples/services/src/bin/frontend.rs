//! The frontend: `GET /checkout/{item}` asks the backend for its stock.
//!
//! Where the backend fails, the answer is 502; with `?fallback=true` it is 200 without the stock, as where an application prefers a
//! partial answer to none. Calls go to the sidecar that `HTTP_PROXY` names, to the service that `BACKEND` names.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use sidespan_example_services::{forwarded, serve};

#[derive(Clone)]
struct Frontend {
    client: Client,
    backend: String,
}

#[derive(Deserialize)]
struct Options {
    /// Whether to answer without the stock if the backend fails.
    #[serde(default)]
    fallback: bool,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let backend = std::env::var("BACKEND").unwrap_or_else(|_| "http://backend:8080".to_owned());
    let service = Router::new()
        .route("/checkout/{item}", get(checkout))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(Frontend { client: Client::new(), backend });
    serve(service).await
}

async fn checkout(
    State(frontend): State<Frontend>,
    Path(item): Path<u64>,
    Query(options): Query<Options>,
    received: HeaderMap,
) -> Response {
    match frontend.stock(item, &received).await {
        Ok(stock) => Json(json!({ "item": item, "stock": stock })).into_response(),
        Err(_) if options.fallback => Json(json!({ "item": item, "stock": null })).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("the backend failed: {error}\n")).into_response(),
    }
}

// === impl Frontend ===

impl Frontend {
    async fn stock(&self, item: u64, received: &HeaderMap) -> reqwest::Result<Option<u64>> {
        let call = self.client.get(format!("{}/api/stock/{item}", self.backend)).headers(forwarded(received));
        let answer = call.send().await?.error_for_status()?.bytes().await?;
        let answer: Option<Value> = serde_json::from_slice(&answer).ok();
        Ok(answer.and_then(|answer| answer.get("stock")?.as_u64()))
    }
}
