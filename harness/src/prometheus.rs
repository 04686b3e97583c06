//! A running Prometheus that scrapes proxies of this machine and evaluates rules.

use crate::client::Client;
use crate::directory::Directory;
use crate::process::Process;
use crate::server::reserve;
use crate::support::Patience;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::net::TcpSocket;

/// A Prometheus process; killed when dropped.
pub struct Prometheus {
    // Before the directory: the process ends first.
    process: Process,
    client: Client,
    directory: Directory,
    /// Keeps the port for the process: it is bound here too, but nobody listens.
    _port: TcpSocket,
}

/// Where metrics come from.
#[derive(Clone, Debug)]
pub struct Target {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Labels of all its series.
    pub labels: Vec<(&'static str, &'static str)>,
}

/// One element of an answer: its labels, and its value now.
pub type Sample = (BTreeMap<String, String>, f64);

const START_TIMEOUT: Duration = Duration::from_secs(60);

// === impl Prometheus ===

impl Prometheus {
    /// Starts `binary` ([`crate::provide::prometheus_programs`]). It scrapes `/stats/prometheus` of the targets and evaluates the
    /// rules each second. `relabel` are `metric_relabel_configs`.
    ///
    /// # Errors
    /// If it ends, or is not ready within a minute; the error ends with the last lines of its log.
    pub async fn start(binary: &Path, targets: &[Target], rules: &Path, relabel: Value) -> Result<Self> {
        let directory = Directory::create("sidespan-prometheus-")?;
        let port = reserve(0)?;
        let number = port.local_addr()?.port();
        let rules = rules.canonicalize().with_context(|| format!("rules {}", rules.display()))?;
        let configuration = configuration(targets, &rules, relabel);
        // JSON is YAML.
        fs::write(directory.path().join("prometheus.yaml"), configuration.to_string())?;
        let log = File::create(directory.path().join("log"))?;
        let mut command = Command::new(binary);
        command.current_dir(directory.path()).args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{number}"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = Process::spawn(command)?;
        let mut prometheus = Self { process, client: Client::http1(number), directory, _port: port };
        let started = prometheus.become_ready().await;
        started.with_context(|| format!("Prometheus did not start:\n{}", prometheus.directory.tail("log")))?;
        Ok(prometheus)
    }

    /// The answer to a query, now.
    ///
    /// # Errors
    /// If Prometheus refuses it; the error says why.
    pub async fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let answer = self.get(&format!("/api/v1/query?query={}", percent_encoded(expression))).await;
        let data = answer.with_context(|| expression.to_owned())?;
        match data["resultType"].as_str() {
            Some("vector") => data["result"].as_array().into_iter().flatten().map(sample).collect(),
            other => bail!("{expression}: no instant vector but {other:?}"),
        }
    }

    /// The rules with their state: name, health, last error, alerts.
    ///
    /// # Errors
    /// If Prometheus does not answer.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let data = self.get("/api/v1/rules").await?;
        let groups = data["groups"].as_array().context("no groups")?;
        Ok(groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect())
    }

    /// The alerts that fire: name and labels.
    ///
    /// # Errors
    /// If Prometheus does not answer.
    pub async fn firing(&self) -> Result<Vec<BTreeMap<String, String>>> {
        Ok(self.query(r#"ALERTS{alertstate="firing"}"#).await?.into_iter().map(|(labels, _)| labels).collect())
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let reply = self.client.get("prometheus", path, &[]).await?;
        let answer: Value = serde_json::from_slice(&reply.body).with_context(|| reply.text())?;
        ensure!(answer["status"] == "success", "{}", answer["error"].as_str().unwrap_or_default());
        Ok(answer["data"].clone())
    }

    async fn become_ready(&mut self) -> Result<()> {
        let patience = Patience::new("Prometheus is ready", START_TIMEOUT);
        loop {
            if let Some(status) = self.process.exited() {
                bail!("it has ended: {status}");
            }
            match self.client.get("prometheus", "/-/ready", &[]).await {
                Ok(reply) if reply.status == 200 => return Ok(()),
                Ok(reply) => patience.pause(anyhow!(reply.text())).await?,
                Err(error) => patience.pause(error).await?,
            }
        }
    }
}

fn configuration(targets: &[Target], rules: &Path, relabel: Value) -> Value {
    let static_configs: Vec<_> = targets
        .iter()
        .map(|target| {
            let labels: BTreeMap<_, _> = target.labels.iter().copied().collect();
            json!({"targets": [format!("127.0.0.1:{}", target.port)], "labels": labels})
        })
        .collect();
    json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [rules],
        "scrape_configs": [{
            "job_name": "proxies", "metrics_path": "/stats/prometheus", "static_configs": static_configs,
            "metric_relabel_configs": relabel,
        }],
    })
}

fn sample(element: &Value) -> Result<Sample> {
    let labels = element["metric"].as_object().into_iter().flatten();
    let labels = labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    let value = element["value"][1].as_str().context("no value")?;
    Ok((labels, value.parse().with_context(|| value.to_owned())?))
}

/// All but unreserved characters (RFC 3986 section 2.3) as `%XX`.
fn percent_encoded(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded = text.bytes().map(|byte| match unreserved(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_read_with_labels_and_value_and_not_a_number_is_a_value() {
        let element = |value: &str| json!({"metric": {"pod": "a"}, "value": [1.5, value]});
        let labels = BTreeMap::from([("pod".to_owned(), "a".to_owned())]);
        assert_eq!(sample(&element("0.25")).unwrap(), (labels, 0.25));
        assert!(sample(&element("NaN")).unwrap().1.is_nan());
        assert!(sample(&element("much")).is_err());
    }

    #[test]
    fn a_query_is_encoded_as_a_part_of_a_path() {
        assert_eq!(percent_encoded("sum(x{a=~\"b.+\"}) > 0"), "sum%28x%7Ba%3D~%22b.%2B%22%7D%29%20%3E%200");
    }
}
