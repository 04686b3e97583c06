//! Many requests, a bounded number at a time.

use futures_util::StreamExt as _;
use std::future::Future;

/// Runs `task(0)` to `task(n - 1)`, at most `concurrency` at a time; the results are in the order of the numbers.
pub async fn fire<T, F>(n: usize, concurrency: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = T>,
{
    futures_util::stream::iter(0..n).map(task).buffered(concurrency.max(1)).collect().await
}
