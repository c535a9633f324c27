//! The headless Service: a DNS name that stays while Pods come and go.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sandbox_api::Sandbox;

use super::{metadata, name_of, system_labels};

pub fn build(sandbox: &Sandbox) -> Service {
    let ports = ports(sandbox);
    Service {
        metadata: metadata(
            sandbox,
            name_of(sandbox).to_owned(),
            system_labels(sandbox),
            BTreeMap::new(),
        ),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            selector: Some(system_labels(sandbox)),
            ports: Some(ports).filter(|ports| !ports.is_empty()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The DNS name of the Service.
pub fn fqdn(sandbox: &Sandbox, cluster_domain: &str) -> String {
    let namespace = sandbox.metadata.namespace.as_deref().unwrap_or_default();
    format!("{}.{namespace}.svc.{cluster_domain}", name_of(sandbox))
}

/// Every port of the containers and of the init containers that keep running, once each.
fn ports(sandbox: &Sandbox) -> Vec<ServicePort> {
    let spec = &sandbox.spec.pod_template.spec;
    let sidecars = spec.init_containers.iter().flatten().filter(|container| restarts(container));
    let declared = spec.containers.iter().chain(sidecars).flat_map(|container| {
        container.ports.iter().flatten().map(|port| {
            (port.container_port, port.protocol.clone().unwrap_or_else(|| "TCP".into()))
        })
    });
    let mut seen = BTreeSet::new();
    declared
        .filter(|port| seen.insert(port.clone()))
        .map(|(port, protocol)| ServicePort {
            name: Some(format!("p-{port}-{}", protocol.to_lowercase())),
            port,
            target_port: Some(IntOrString::Int(port)),
            protocol: Some(protocol),
            ..ServicePort::default()
        })
        .collect()
}

fn restarts(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}
