//! The backend: `GET /api/stock/{item}` tells how many of an item there are. One item in fifty cannot be looked up: 503.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

/// Items with this remainder by 50 fail, so that a caller can choose whether its request fails.
const BROKEN: u64 = 13;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let service = Router::new().route("/api/stock/{item}", get(stock)).route("/healthz", get(|| async { "ok\n" }));
    sidespan_example_services::serve(service).await
}

async fn stock(Path(item): Path<u64>) -> Response {
    if item % 50 == BROKEN {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("no stock is known of item {item}\n")).into_response();
    }
    Json(json!({ "item": item, "stock": item % 7 })).into_response()
}
