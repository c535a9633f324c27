//! What an agent does with a sandbox, by kube-rs alone: claims one from a pool, runs commands in it,
//! talks to a port, suspends and resumes it, reads its log, and gives it back.
//!
//! ```sh
//! KUBECONFIG=K cargo run -p sandbox-api --example agent -- NAMESPACE POOL PORT
//! ```
//!
//! The sandbox must serve HTTP on the port. It fails when anything is not as it should be.

#![expect(clippy::print_stdout, reason = "an example talks to its user on stdout")]

use anyhow::{Context as _, Result, bail, ensure};
use kube::api::{AttachParams, DeleteParams, LogParams};
use kube::{Api, Client, ResourceExt as _};
use sandbox_api::actions::{PoolActions as _, SandboxActions as _, WaitParams};
use sandbox_api::{OperatingMode, Sandbox, SandboxClaim, SandboxWarmPool};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [namespace, pool, port] = args.as_slice() else {
        bail!("usage: agent NAMESPACE POOL PORT");
    };
    let client = Client::try_default().await?;
    let pools: Api<SandboxWarmPool> = Api::namespaced(client.clone(), namespace);
    let claims: Api<SandboxClaim> = Api::namespaced(client.clone(), namespace);
    let sandboxes: Api<Sandbox> = Api::namespaced(client, namespace);

    // One request. With the key, a repeated one would get the same claim.
    let mut asked = SandboxClaim::default();
    asked.spec.idempotency_key = Some("agent-1".into());
    let claim = pools.claim(pool, &asked, &WaitParams::ready()).await?;
    let again = pools.claim(pool, &asked, &WaitParams::default()).await?;
    ensure!(claim.uid() == again.uid(), "a repeated claim made another");
    let bound = claim.status.clone().and_then(|status| status.sandbox);
    let bound = bound.context("the claim is not bound")?;
    println!("{} has {} ({:?})", claim.name_any(), bound.name, bound.launch_type);

    let used = async {
        use_it(&sandboxes, &bound.name, port.parse()?).await?;
        // The streams of the claim are those of its Sandbox.
        let (said, code) = run(&claims, &claim.name_any(), &["hostname"]).await?;
        ensure!((said.trim(), code) == (&*bound.name, 0), "{said:?} {code}");
        anyhow::Ok(())
    };
    let outcome = used.await;
    claims.delete(&claim.name_any(), &DeleteParams::default()).await?;
    outcome
}

async fn use_it(sandboxes: &Api<Sandbox>, name: &str, port: u16) -> Result<()> {
    let (said, code) = run(sandboxes, name, &["sh", "-c", "echo $((6 * 7)); exit 3"]).await?;
    ensure!((&*said, code) == ("42\n", 3), "{said:?} {code}");

    let mut forwarded = sandboxes.portforward(name, &[port]).await?;
    let mut stream = forwarded.take_stream(port).context("no stream")?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    ensure!(page.starts_with("HTTP/1.1 200") || page.starts_with("HTTP/1.0 200"), "{page}");

    let log = sandboxes.logs(name, &LogParams::default()).await?;
    println!("its log has {} lines", log.lines().count());

    let asleep = sandboxes.suspend(name, &WaitParams::done()).await?;
    ensure!(asleep.spec.operating_mode() == OperatingMode::Suspended, "it is not suspended");
    let awake = sandboxes.resume(name, &WaitParams::done()).await?;
    ensure!(awake.spec.operating_mode() == OperatingMode::Running, "it was not resumed");
    Ok(())
}

/// What a command says, and its exit code.
async fn run<K>(api: &Api<K>, name: &str, command: &[&str]) -> Result<(String, i32)>
where
    K: kube::api::Execute + Clone + serde::de::DeserializeOwned,
{
    let mut process =
        api.exec(name, command.to_vec(), &AttachParams::default().stderr(false)).await?;
    let mut said = String::new();
    let mut stdout = process.stdout().context("no stdout")?;
    stdout.read_to_string(&mut said).await?;
    let status = process.take_status().context("no status")?.await.context("no status came")?;
    process.join().await?;
    let code = match status.status.as_deref() {
        Some("Success") => 0,
        _ => {
            let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
            let cause = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
            cause.and_then(|cause| cause.message.as_deref()).context("no exit code")?.parse()?
        }
    };
    Ok((said, code))
}
